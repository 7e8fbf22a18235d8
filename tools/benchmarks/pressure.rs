//! A memory hog beside paused sandboxes, within a limit around both: the time until it has its
//! memory, the sandboxes that are lost, and the effect on invocations meanwhile.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pipsqueak::size;
use pipsqueak::wire::{SandboxState, Tier};

use crate::Failure;
use crate::instance::{Instance, milliseconds};
use crate::report::Row;
use crate::statistics::{median, percentile};

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Limit around instance and hog
    #[arg(long, default_value = "3G")]
    memory: String,
    /// Memory that the hog takes
    #[arg(long, default_value = "1G")]
    hog: String,
    /// Speed of the hog, in MiB a second; 0 for no limit
    #[arg(long, default_value_t = 1024)]
    rate: u32,
    /// Memory that each function keeps, in MiB; the functions fill the limit
    #[arg(long, default_value_t = 40)]
    each: u32,
}

/// Takes memory in steps of 8 MiB, and prints a line when it has all.
const HOG: &str = "
import sys, time
want, rate = int(sys.argv[1]), int(sys.argv[2])
taken, began = [], time.monotonic()
while len(taken) * 8 < want:
    taken.append(b'x' * (8 << 20))
    while rate and time.monotonic() - began < len(taken) * 8 / rate:
        time.sleep(0.001)
print(flush=True)
sys.stdin.read()
";

/// A process in a group inside an instance's group.
struct Hog {
    group: PathBuf,
    child: Child,
}

impl Hog {
    /// Starts a hog and waits until it has all its memory; returns the time that it took.
    fn fill(around: &Path, want: u64, rate: u32) -> Result<(Self, f64), Failure> {
        let group = around.join("hog");
        fs::create_dir(&group)?;
        let mut command = Command::new("sh");
        // It joins the group before anything is charged to it.
        command.args(["-c", "echo $$ > \"$0\" && exec python3 -c \"$1\" \"$2\" \"$3\""]);
        command.arg(group.join("cgroup.procs")).arg(HOG);
        command.arg((want >> 20).to_string()).arg(rate.to_string());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let began = Instant::now();
        let mut hog = Self { group, child };
        let mut line = String::new();
        let said = hog.child.stdout.as_mut().ok_or("the hog says nothing")?;
        BufReader::new(said).read_line(&mut line)?;
        if line.is_empty() {
            return Err("the hog was ended for want of memory".into());
        }
        Ok((hog, milliseconds(began.elapsed())))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir(&self.group);
    }
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let (limit, want) = (size::parse(&flags.memory)?, size::parse(&flags.hog)?);
    let instance =
        Instance::start_with(&["--tiers", "paused,ssd", "--memory", &flags.memory], None)?;
    let group = limited(&instance.status()?.group, limit)?;
    // Alone, and with sandboxes to be dropped for it.
    let (alone, floor) = Hog::fill(&group, want, flags.rate)?;
    drop(alone);

    instance.deploy("busy", "def handler(event):\n    return event\n", &[])?;
    let count = fill(&instance, &group, limit, flags.each)?;
    instance.invoke("busy")?;
    let before = thread::scope(|scope| {
        meanwhile(&instance, scope, || {
            thread::sleep(Duration::from_secs(2));
            Ok(())
        })
    })?;
    let mut took = 0.0;
    let mut hog = None;
    let during = thread::scope(|scope| {
        meanwhile(&instance, scope, || {
            let (filled, time) = Hog::fill(&group, want, flags.rate)?;
            (hog, took) = (Some(filled), time);
            Ok(())
        })
    })?;
    // What is dropped late is dropped too.
    thread::sleep(Duration::from_secs(2));
    let lost = count - paused(&instance)?.min(count);
    drop(hog);
    // What would have been enough: the hog's memory, of what each takes.
    let each = f64::from(flags.each) + OWN;
    #[expect(clippy::cast_precision_loss, reason = "a size, far below 2^52")]
    let needed = want as f64 / f64::from(1 << 20) / each;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let lost = lost as f64;
    Ok(vec![
        Row::new("the hog has its memory", "ms", floor, took, None),
        Row::new("sandboxes lost / by its size", "sandboxes", needed, lost, None),
        Row::new("busy p50, beside it / before", "ms", median(&before), median(&during), None),
        Row::new(
            "busy p99, beside it / before",
            "ms",
            percentile(&before, 0.99),
            percentile(&during, 0.99),
            None,
        ),
    ])
}

/// Memory of an interpreter besides that of its function, in MiB.
const OWN: f64 = 8.0;

/// Starts functions until the memory is nearly full; returns the number of kept ones.
fn fill(instance: &Instance, group: &Path, limit: u64, each: u32) -> Result<usize, Failure> {
    let code = format!("kept = b'x' * ({each} << 20)\n\ndef handler(event):\n    return event\n");
    for number in 0.. {
        let name = format!("f{number}");
        instance.deploy(&name, &code, &[])?;
        instance.invoke(&name)?;
        // Short of where it would be called a shortage.
        let used = ["memory.current", "memory.usage_in_bytes"]
            .iter()
            .find_map(|file| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok());
        if used.ok_or("the group's memory is not counted")? > limit / 100 * 90 {
            break;
        }
    }
    paused(instance)
}

fn paused(instance: &Instance) -> Result<usize, Failure> {
    let sandboxes = instance.status()?.sandboxes;
    Ok(sandboxes.iter().filter(|one| one.state == SandboxState::Paused).count())
}

/// Invokes the busy function again and again while `act` runs; returns the time of each invocation.
fn meanwhile<'scope>(
    instance: &'scope Instance,
    scope: &'scope thread::Scope<'scope, '_>,
    act: impl FnOnce() -> Result<(), Failure>,
) -> Result<Vec<f64>, Failure> {
    let done = std::sync::Arc::new(AtomicBool::new(false));
    let is_done = done.clone();
    let busy = scope.spawn(move || {
        let mut times = Vec::new();
        while !is_done.load(Ordering::Relaxed) {
            let (invocation, took) = instance.invoke("busy")?;
            if invocation.tier != Tier::Paused {
                eprintln!("the {:?} tier answered", invocation.tier);
            }
            times.push(milliseconds(took));
            thread::sleep(Duration::from_millis(10));
        }
        Ok::<_, Failure>(times)
    });
    let acted = act();
    done.store(true, Ordering::Relaxed);
    let times = busy.join().map_err(|_| "the busy client has panicked")??;
    acted.map(|()| times)
}

/// Limits the memory of an instance's group; returns the group's path.
fn limited(name: &str, bytes: u64) -> Result<PathBuf, Failure> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let groups = mounts.lines().filter(|line| line.contains(" cgroup"));
    for group in groups.filter_map(|line| Some(Path::new(line.split(' ').nth(1)?).join(name))) {
        for file in ["memory.max", "memory.limit_in_bytes"] {
            if group.join(file).exists() {
                fs::write(group.join(file), bytes.to_string())?;
                return Ok(group);
            }
        }
    }
    Err("no control group limits memory here".into())
}
