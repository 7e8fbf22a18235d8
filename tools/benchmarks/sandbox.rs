//! A new function without a zygote: the time that its sandbox adds to an interpreter's start.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use pipsqueak::wire::Tier;

use crate::Failure;
use crate::instance::{Instance, milliseconds};
use crate::report::Row;
use crate::statistics::{median, percentile};

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// New functions started, and interpreters
    #[arg(long, default_value_t = 60)]
    rounds: usize,
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let instance = Instance::start_with(&["--tiers", "ssd"], None)?;
    instance.call(&["env", "add", "bench", "six"])?;
    let code = "import time\n\ndef handler(event):\n    return time.monotonic_ns()\n";
    instance.deploy("new", code, &["--env", "bench"])?;
    instance.invoke("new")?;
    let python = instance.view("bench").join("bin/python");
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..flags.rounds {
        floor.push(interpreter(&python)?);
        let began = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let (invocation, _) = instance.invoke("new")?;
        if invocation.tier != Tier::Ssd {
            return Err(format!("the {:?} tier answered", invocation.tier).into());
        }
        let first_line = invocation.result.ok_or("the function failed")?.get().parse()?;
        ours.push(milliseconds(Duration::from_nanos(first_line).saturating_sub(began)));
    }
    let row =
        |name, part| Row::new(name, "ms", percentile(&floor, part), percentile(&ours, part), None);
    eprintln!("sandbox and request add {:.2} ms", median(&ours) - median(&floor));
    Ok(vec![row("fresh function / interpreter p50", 0.5), row("the same p99", 0.99)])
}

/// Milliseconds until an interpreter has printed its first line and ended.
fn interpreter(python: &Path) -> Result<f64, Failure> {
    let began = Instant::now();
    let status = Command::new(python)
        .args(["-I", "-X", "utf8", "-c", "import json, time; time.monotonic_ns()"])
        .stdin(Stdio::null())
        .status()?;
    if status.success() {
        Ok(milliseconds(began.elapsed()))
    } else {
        Err(format!("{} ended with {status}", python.display()).into())
    }
}
