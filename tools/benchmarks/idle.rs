//! Memory and processor time of a supervisor that holds much and has nothing to do.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use pipsqueak::wire::SandboxState;

use crate::Failure;
use crate::instance::Instance;
use crate::memory::Pss;
use crate::report::Row;

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Number of deployed functions
    #[arg(long, default_value_t = 1000)]
    deployed: usize,
    /// Number of paused functions among those
    #[arg(long, default_value_t = 300)]
    paused: usize,
    /// Time without requests, in seconds
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

/// Most memory, in MiB.
const MEMORY: f64 = 100.0;
/// Most processor time, in percent of one processor.
const PROCESSOR: f64 = 0.5;
/// Time until all work is done: zygotes, spares, writes.
const SETTLING: Duration = Duration::from_secs(15);

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    // More memory than there is: nothing is to be dropped.
    let instance = Instance::start_with(&["--memory", "1T"], None)?;
    instance.call(&["env", "add", "bench", "requests"])?;
    let code = "import requests\n\ndef handler(event):\n    return event\n";
    for number in 0..flags.deployed {
        let name = format!("f{number}");
        instance.deploy(&name, code, &["--env", "bench"])?;
        if number < flags.paused {
            instance.invoke(&name)?;
        }
    }
    instance.await_zygotes()?;
    thread::sleep(SETTLING);
    let status = instance.status()?;
    let paused = status.sandboxes.iter().filter(|one| one.state == SandboxState::Paused).count();
    if paused < flags.paused {
        return Err(format!("only {paused} of {} are paused", flags.paused).into());
    }
    let server = status.mount.pid.ok_or("nothing serves the mount")?;
    let supervisor = status.pid;
    let (before, began) = ([spent(supervisor)?, spent(server)?], Instant::now());
    thread::sleep(Duration::from_secs(flags.seconds));
    let time = began.elapsed();
    let after = [spent(supervisor)?, spent(server)?];
    let percent = |which: usize| {
        100.0 * after[which].saturating_sub(before[which]).as_secs_f64() / time.as_secs_f64()
    };
    let memory = |process| Pss::of(&[process]).map(|pss| pss.total());
    let (deployed, paused) = (flags.deployed, flags.paused);
    let named = |what: &str| format!("{what}, {deployed} deployed, {paused} paused");
    Ok(vec![
        Row::new(&named("PSS of pipsqueakd"), "MiB", MEMORY, memory(supervisor)?, Some(1.0)),
        Row::new(&named("processor of pipsqueakd"), "%", PROCESSOR, percent(0), Some(1.0)),
        Row::new(&named("PSS of pipsqueak-fs"), "MiB", MEMORY, memory(server)?, None),
        Row::new(&named("processor of pipsqueak-fs"), "%", PROCESSOR, percent(1), None),
    ])
}

/// Processor time that a process has had, in all its threads.
fn spent(pid: u32) -> Result<Duration, Failure> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = thread?.path().join("schedstat");
        // One that has ended meanwhile counts no more.
        let text = fs::read_to_string(path).unwrap_or_default();
        let first = text.split(' ').next().unwrap_or_default();
        nanos += first.parse().unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}
