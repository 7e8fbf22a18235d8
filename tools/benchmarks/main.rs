//! Benchmarks. Each is a file here, a variant below, and an arm of the only match.
//!
//! The two sides of a figure are interleaved in one run, because the machine is never quiet.
//! Reports give medians and ratios.

mod density;
mod disk;
mod env_add;
mod eviction;
mod experiment;
mod fairness;
mod fork;
mod forker;
mod idle;
mod image;
mod import;
mod import_cold;
mod instance;
mod known;
mod memory;
mod mount_ops;
mod paused;
mod pressure;
mod report;
mod same;
mod sandbox;
mod sides;
mod spares;
mod statistics;
mod store;
mod throttle;
mod throughput;
mod tree;
mod zygote;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use report::Row;

/// The error of a benchmark: a message for a person.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(name = "tools/bench", about = "Our figures beside their floors")]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
    /// File for the figures, a JSON object a line
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Benchmark {
    /// A paused function's round trip, against thaw and echo alone
    Paused(paused::Flags),
    /// Paused functions in some memory, against interpreters of their own
    Density(density::Flags),
    /// A memory hog beside paused functions
    Pressure(pressure::Flags),
    /// Starts by traces, of each policy of eviction within the same memory
    Eviction(eviction::Flags),
    /// A new function's start without a spare, against a fork of the same zygote and a plain import
    Zygote(zygote::Flags),
    /// A new function's start with a spare, against a fork of the same zygote and a plain import
    Spares(zygote::Flags),
    /// Starts of new functions a second and their memory, against a forkserver
    Fork(fork::Flags),
    /// A new function without a zygote, against an interpreter
    Sandbox(sandbox::Flags),
    /// A warm import from the mount, against the same files in a folder
    Import(import::Flags),
    /// A cold import from the mount, against the same files in a folder, also with a slow disk
    ImportCold(import_cold::Flags),
    /// Functions that import the same package, random requests, each combination of tiers
    Experiment(experiment::Flags),
    /// Bytes on disk of many environments, against copies, hardlinks and images
    Store(store::Flags),
    /// Adding an environment, new and already stored, against uv
    EnvAdd(env_add::Flags),
    /// stat, readdir and reads on the mount, against ext4 and an EROFS image
    MountOps(mount_ops::Flags),
    /// Memory of the mount's server with many environments
    Memory(memory::Flags),
    /// Memory and processor time of a supervisor that keeps much and does nothing
    Idle(idle::Flags),
    /// Unused environments and functions: memory of each, mounts, and `up`
    Known(known::Flags),
    /// A busy function's requests a second, against gunicorn and uvicorn
    Throughput(throughput::Flags),
    /// A quiet function beside one that is flooded, against it alone
    Fairness(fairness::Flags),
    /// Behaviour of imported distributions in functions forked from zygotes, against started anew
    Same(same::Flags),
    /// Starts by a trace from the learned zygotes, against a static tree and OpenLambda's
    Tree(tree::Flags),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let rows = match &arguments.benchmark {
        Benchmark::Paused(flags) => paused::run(flags),
        Benchmark::Density(flags) => density::run(flags),
        Benchmark::Pressure(flags) => pressure::run(flags),
        Benchmark::Eviction(flags) => Ok(eviction::run(flags)),
        Benchmark::Zygote(flags) => zygote::run(flags),
        Benchmark::Spares(flags) => spares::run(flags),
        Benchmark::Fork(flags) => fork::run(flags),
        Benchmark::Sandbox(flags) => sandbox::run(flags),
        Benchmark::Import(flags) => import::run(flags),
        Benchmark::ImportCold(flags) => import_cold::run(flags),
        Benchmark::Experiment(flags) => experiment::run(flags),
        Benchmark::Store(flags) => store::run(flags),
        Benchmark::EnvAdd(flags) => env_add::run(flags),
        Benchmark::MountOps(flags) => mount_ops::run(flags),
        Benchmark::Memory(flags) => memory::run(flags),
        Benchmark::Idle(flags) => idle::run(flags),
        Benchmark::Known(flags) => known::run(flags),
        Benchmark::Throughput(flags) => throughput::run(flags),
        Benchmark::Fairness(flags) => fairness::run(flags),
        Benchmark::Same(flags) => same::run(flags),
        Benchmark::Tree(flags) => tree::run(flags),
    };
    let told = rows.and_then(|rows| tell(&rows, arguments.json));
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell(rows: &[Row], json: Option<PathBuf>) -> Result<(), Failure> {
    report::print(rows);
    match json {
        Some(path) => report::write(rows, &path),
        None => Ok(()),
    }
}
