//! Damages the input of the ssd tier's readers, and checks that they notice: no panic, no wrong
//! byte, no allocation or loop without bound.
//!
//! Inputs are a function of seed and number, which repeat a failure.

mod deployed;
mod mutation;
mod target;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sys::resource::{Resource, setrlimit};

use target::{Bench, TARGETS, Target};

/// The error of the harness itself.
type Failure = Box<dyn std::error::Error>;

/// Most memory that the process may map, so that an allocation without bound fails.
const MEMORY: u64 = 4 << 30;
/// Longest time that one input may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(name = "tools/fuzz", about = "Damaged input for every reader, for a bounded time")]
struct Arguments {
    /// Time for each target, in seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Inputs for each target, in place of a time
    #[arg(long)]
    inputs: Option<u64>,
    /// Only this one: record, lock, requirement, wheel, deployed, frame, segment, index, resealed or published
    #[arg(long)]
    target: Option<Target>,
    /// Seed of all inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of the first input
    #[arg(long, default_value_t = 0)]
    from: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::from(70)
        }
    }
}

/// True if no fault was found.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY)?;
    let mut is_clean = true;
    for target in TARGETS.into_iter().filter(|t| arguments.target.is_none_or(|one| one == *t)) {
        is_clean &= run_target(arguments, target)?;
    }
    Ok(is_clean)
}

fn run_target(arguments: &Arguments, target: Target) -> Result<bool, Failure> {
    let mut bench = Bench::new(target)?;
    // Where the process is ended, by its own limit or by a signal, the file tells at which input.
    let path = std::env::temp_dir().join(format!("pipsqueak-fuzz-{}", std::process::id()));
    let last = File::create(&path)?;
    let (began, mut number) = (Instant::now(), arguments.from);
    let is_over = |number: u64| match arguments.inputs {
        Some(inputs) => number - arguments.from >= inputs,
        None => began.elapsed() >= Duration::from_secs(arguments.seconds),
    };
    let mut failures = 0_u64;
    while !is_over(number) {
        last.write_all_at(format!("{target} {number:20}\n").as_bytes(), 0)?;
        let began = Instant::now();
        let seed = arguments.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number);
        let tried = catch_unwind(AssertUnwindSafe(|| bench.try_one(seed)));
        let reason = match tried {
            Ok(Ok(())) if began.elapsed() > PATIENCE => Some("it takes too long".to_owned()),
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(reason),
            Err(_) => Some("it panics".to_owned()),
        };
        if let Some(reason) = reason {
            failures += 1;
            println!(
                "{target}: {reason}; again: --target {target} --seed {} --from {number} --inputs 1",
                arguments.seed
            );
            if failures == 5 {
                break;
            }
        }
        number += 1;
    }
    println!("{target}: {} inputs, {failures} failures", number - arguments.from);
    std::fs::remove_file(&path)?;
    Ok(failures == 0)
}
