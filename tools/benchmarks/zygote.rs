//! A new function with a zygote that has imported its packages, from the request to the first line
//! of its handler, compared with a bare fork of an interpreter with the same packages, and with
//! their import.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use pipsqueak::wire::Tier;

use crate::Failure;
use crate::forker::Forker;
use crate::instance::{Instance, milliseconds, plain_environment};
use crate::report::{Better, Row};
use crate::statistics::{median, percentile};

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// The package that functions import
    #[arg(long, default_value = "pandas")]
    package: String,
    /// The module that they import, if its name is not the package's
    #[arg(long)]
    module: Option<String>,
    /// New functions started, and forks
    #[arg(long, default_value_t = 60)]
    rounds: usize,
    /// Plain imports among them, spread evenly
    #[arg(long, default_value_t = 8)]
    imports: usize,
}

/// Measured times, in milliseconds.
pub struct Measured {
    /// Bare forks.
    pub forks: Vec<f64>,
    /// New functions, to the first line of the handler.
    pub starts: Vec<f64>,
    /// New functions, to the answer.
    pub answers: Vec<f64>,
    /// `python -c 'import …'`.
    pub imports: Vec<f64>,
}

/// Time for the end of the start before, if there are no spares.
const REST: Duration = Duration::from_millis(150);
/// Longest wait for a spare.
const PATIENCE: Duration = Duration::from_secs(5);

/// Measures without spares.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let Measured { forks, starts, answers, imports } = measure(flags, 0)?;
    let p99 = |values: &[f64]| percentile(values, 0.99);
    let (fork, start, import) = (median(&forks), median(&starts), median(&imports));
    Ok(vec![
        Row::milliseconds("new function / fork p50", fork, start, 2.5, Better::Lower),
        Row::milliseconds("new function / fork p99", p99(&forks), p99(&starts), 4.0, Better::Lower),
        Row::new("answer / fork p50", "ms", fork, median(&answers), None),
        Row::milliseconds("new function / plain import", import, start, 0.02, Better::Lower),
    ])
}

/// Measures with `spares` spares at most.
pub fn measure(flags: &Flags, spares: usize) -> Result<Measured, Failure> {
    let module = flags.module.as_ref().unwrap_or(&flags.package);
    let instance = Instance::start_with(&["--spares", &spares.to_string()], None)?;
    instance.call(&["env", "add", "bench", &flags.package])?;
    let code = format!(
        "import time\nimport {module}\n\ndef handler(event):\n    return time.monotonic_ns()\n"
    );
    instance.deploy("new", &code, &["--env", "bench"])?;
    instance.invoke("new")?;
    instance.await_zygotes()?;
    let plain = plain_environment(&instance.folder().join("plain"), &[&flags.package])?;
    let mut forker = Forker::start(&instance.view("bench").join("bin/python"), module)?;

    let (forks, starts, answers, imports) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut measured = Measured { forks, starts, answers, imports };
    let between_imports = (flags.rounds / flags.imports.max(1)).max(1);
    for round in 0..flags.rounds {
        if round % between_imports == 0 {
            measured.imports.push(import(&plain, module)?);
        }
        measured.forks.push(forker.fork()?);
        instance.evict_paused()?;
        if spares > 0 {
            await_spare(&instance)?;
        } else {
            // What the start before has left to do is done by then: an empty sandbox waits.
            std::thread::sleep(REST);
        }
        let began = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let (invocation, took) = instance.invoke("new")?;
        if invocation.tier != Tier::Zygote {
            return Err(format!("the {:?} tier answered", invocation.tier).into());
        }
        let first_line = invocation.result.ok_or("the function failed")?.get().parse()?;
        measured.starts.push(milliseconds(Duration::from_nanos(first_line).saturating_sub(began)));
        measured.answers.push(milliseconds(took));
    }
    Ok(measured)
}

/// Waits until a spare is there, and until its maker is at rest.
fn await_spare(instance: &Instance) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    while instance.status()?.zygotes.iter().all(|zygote| zygote.spares == 0) {
        if Instant::now() > until {
            return Err(format!("no spare within {PATIENCE:?}").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(20));
    Ok(())
}

/// Milliseconds that an interpreter takes to start, import a module and end.
fn import(python: &Path, module: &str) -> Result<f64, Failure> {
    let began = Instant::now();
    let status = Command::new(python).args(["-c", &format!("import {module}")]).status()?;
    if status.success() {
        Ok(milliseconds(began.elapsed()))
    } else {
        Err(format!("python -c 'import {module}' ended with {status}").into())
    }
}
