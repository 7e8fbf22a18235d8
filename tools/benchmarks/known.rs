//! Cost of unused environments and functions: memory, mounts, and the time of `up`.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::instance::{Instance, milliseconds};
use crate::memory::Pss;
use crate::report::{Better, Row};

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Number of environments, and of functions: one of each
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..1 << PACKAGES.len()))]
    known: u32,
    /// Number of those that are added at the same time
    #[arg(long, default_value_t = 4)]
    clients: usize,
}

/// Distributions without dependencies. Each environment has another choice of them.
const PACKAGES: [&str; 14] = [
    "six",
    "idna",
    "certifi",
    "toml",
    "tomli",
    "attrs",
    "pluggy",
    "iniconfig",
    "zipp",
    "click",
    "colorama",
    "wcwidth",
    "decorator",
    "mdurl",
];

/// Most memory of an environment with its function, in KiB.
const EACH: f64 = 60.0;
/// Longest time of `up`, in milliseconds.
const UP: f64 = 2000.0;
/// Time until all work is done.
const REST: Duration = Duration::from_secs(15);

/// Memory and mounts of the programs at one moment.
struct Cost {
    kibibytes: f64,
    mounts: usize,
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let instance = Instance::start("paused,zygote,ssd")?;
    let all: Vec<&str> = ["env", "add", "all"].into_iter().chain(PACKAGES).collect();
    instance.call(&all)?;
    instance.deploy("all", "def handler(event):\n    return event\n", &["--env", "all"])?;
    let empty = up(&instance)?;
    thread::sleep(REST);
    let before = cost(&instance)?;
    fill(&instance, flags)?;
    thread::sleep(REST);
    let added = cost(&instance)?;
    let ups = (0..3).map(|_| up(&instance)).collect::<Result<Vec<_>, _>>()?;
    let slowest = ups.into_iter().max().unwrap_or_default();
    thread::sleep(REST);
    let again = cost(&instance)?;
    eprintln!("up with one of each: {:.0} ms", milliseconds(empty));

    let known = flags.known;
    let named = |what: &str| format!("{what}, {known} environments and functions");
    let each = |now: &Cost| (now.kibibytes - before.kibibytes) / f64::from(known);
    let mounts = |now: &Cost| {
        Row::new(
            &named("mounts of the host"),
            "mounts",
            count(before.mounts),
            count(now.mounts),
            Some(1.0),
        )
    };
    Ok(vec![
        Row::new(&named("memory of each, just added"), "KiB", EACH, each(&added), Some(1.0)),
        Row::new(&named("memory of each, after a restart"), "KiB", EACH, each(&again), Some(1.0)),
        Row::milliseconds(&named("up"), UP, milliseconds(slowest), 1.0, Better::Lower),
        mounts(&added),
    ])
}

/// Adds the environments, and deploys a function in each.
fn fill(instance: &Instance, flags: &Flags) -> Result<(), Failure> {
    let next = AtomicU32::new(1);
    let work = || -> Result<(), Failure> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > flags.known {
                return Ok(());
            }
            let name = format!("k{number}");
            let mut add = vec!["env", "add", &name];
            add.extend(
                (0..)
                    .zip(PACKAGES)
                    .filter(|(bit, _)| number & (1 << bit) != 0)
                    .map(|(_, name)| name),
            );
            instance.call(&add)?;
            instance.deploy(&name, "def handler(event):\n    return event\n", &["--env", &name])?;
        }
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..flags.clients.max(1)).map(|_| scope.spawn(work)).collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().map_err(|_| "a client has panicked")?)
    })
}

/// Stops the instance and starts it again; returns the time of the start.
fn up(instance: &Instance) -> Result<Duration, Failure> {
    instance.call(&["down"])?;
    let began = Instant::now();
    instance.call(&["up"])?;
    Ok(began.elapsed())
}

fn cost(instance: &Instance) -> Result<Cost, Failure> {
    let supervisor = instance.status()?.pid;
    let processes: Vec<u32> = [supervisor].into_iter().chain(instance.servers()?).collect();
    let (folder, mounts) =
        (instance.folder().display().to_string(), fs::read_to_string("/proc/self/mountinfo")?);
    let mounts = mounts.lines().filter(|line| line.contains(&folder)).count();
    Ok(Cost { kibibytes: Pss::of(&processes)?.total() * 1024.0, mounts })
}

#[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
fn count(mounts: usize) -> f64 {
    mounts as f64
}
