//! Number of paused functions with the same import that fit into some memory, compared with stopped
//! interpreters that have each made the import.
//!
//! An instance's memory is that of all its processes: zygotes, spares, and servers. Memory is
//! reported twice: as the sum of PSS, and as the loss of available memory of the machine. The
//! latter counts the kernel's needs for each sandbox, but also everything else on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use pipsqueak::size;
use pipsqueak::wire::SandboxState;

use crate::Failure;
use crate::instance::{Instance, plain_environment};
use crate::report::{Better, Row};

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Memory to fill
    #[arg(long, default_value = "8G")]
    memory: String,
    /// Memory to report for, extrapolated if more was not filled
    #[arg(long, default_value = "8G")]
    to: String,
    /// The package that all import
    #[arg(long, default_value = "pandas")]
    package: String,
}

/// Fewest starts between two looks at the memory, and the part of all starts so far (1/10).
const STEP: usize = 10;

/// The number of processes at one look, and their memory in bytes.
#[derive(Debug, Clone, Copy)]
struct Look {
    count: usize,
    pss: f64,
    used: f64,
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let (memory, to) = (size::parse(&flags.memory)?, size::parse(&flags.to)?);
    let floor = fill(memory, &mut Separate::start(&flags.package)?)?;
    let ours = fill(memory, &mut Functions::start(&flags.package)?)?;
    let by_pss = |looks: &[Look]| fitting(looks, to, |look| look.pss);
    let by_use = |looks: &[Look]| fitting(looks, to, |look| look.used);
    let row = |name: &str, floor, ours, budget| Row {
        better: Better::Higher,
        ..Row::new(name, "sandboxes", floor, ours, budget)
    };
    Ok(vec![
        row(&format!("in {} by PSS", flags.to), by_pss(&floor), by_pss(&ours), Some(10.0)),
        row(&format!("in {} by what is available", flags.to), by_use(&floor), by_use(&ours), None),
    ])
}

/// A kind of process that can be started many times and left asleep.
trait Side {
    fn add(&mut self) -> Result<(), Failure>;
    /// All processes of this side.
    fn processes(&self) -> Result<Vec<u32>, Failure>;
}

fn fill(memory: u64, side: &mut impl Side) -> Result<Vec<Look>, Failure> {
    let before = available()?;
    let mut looks = Vec::new();
    let mut count = 0;
    loop {
        let step = STEP.max(count / STEP);
        for _ in 0..step {
            side.add()?;
        }
        count += step;
        let pss = side.processes()?.into_iter().map(pss).sum();
        looks.push(Look { count, pss, used: before - available()? });
        #[expect(clippy::cast_precision_loss, reason = "a size, far below 2^52")]
        if pss >= memory as f64 && looks.len() > 2 {
            return Ok(looks);
        }
    }
}

/// The number that fits, by the memory of each of the later half.
#[expect(clippy::cast_precision_loss, reason = "sizes and counts, far below 2^52")]
fn fitting(looks: &[Look], to: u64, bytes: impl Fn(&Look) -> f64) -> f64 {
    let (Some(half), Some(last)) = (looks.get(looks.len() / 2), looks.last()) else {
        return f64::NAN;
    };
    let each = (bytes(last) - bytes(half)) / (last.count - half.count).max(1) as f64;
    last.count as f64 + (to as f64 - bytes(last)) / each
}

/// A process's proportional set size, in bytes; zero if it has ended.
fn pss(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    kib(&text, "Pss:")
}

fn available() -> Result<f64, Failure> {
    Ok(kib(&fs::read_to_string("/proc/meminfo")?, "MemAvailable:"))
}

fn kib(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    number.unwrap_or(0.0) * 1024.0
}

/// Interpreters of their own, stopped.
struct Separate {
    _folder: tempfile::TempDir,
    python: PathBuf,
    code: String,
    children: Vec<Child>,
}

impl Separate {
    fn start(package: &str) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let python = plain_environment(&folder.path().join("env"), &[package])?;
        let code = format!("import {package}, os, signal\nos.kill(os.getpid(), signal.SIGSTOP)");
        Ok(Self { _folder: folder, python, code, children: Vec::new() })
    }
}

impl Side for Separate {
    fn add(&mut self) -> Result<(), Failure> {
        let child = Command::new(&self.python).args(["-c", &self.code]).spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        self.children.push(child);
        waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
        Ok(())
    }

    fn processes(&self) -> Result<Vec<u32>, Failure> {
        Ok(self.children.iter().map(Child::id).collect())
    }
}

impl Drop for Separate {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Functions of an instance, each invoked once.
struct Functions {
    instance: Instance,
    package: String,
    count: usize,
}

impl Functions {
    fn start(package: &str) -> Result<Self, Failure> {
        // More than there is: nothing is to be dropped.
        let flags = ["--tiers", "paused,zygote,ssd", "--memory", "1T"];
        let instance = Instance::start_with(&flags, None)?;
        instance.call(&["env", "add", "bench", package])?;
        let functions = Self { instance, package: package.to_owned(), count: 0 };
        functions.invoke("first")?;
        functions.instance.await_zygotes()?;
        functions.instance.evict_paused()?;
        Ok(functions)
    }

    fn invoke(&self, name: &str) -> Result<(), Failure> {
        let code = format!("import {}\n\ndef handler(event):\n    return event\n", self.package);
        self.instance.deploy(name, &code, &["--env", "bench"])?;
        self.instance.invoke(name)?;
        Ok(())
    }
}

impl Side for Functions {
    fn add(&mut self) -> Result<(), Failure> {
        self.invoke(&format!("f{}", self.count))?;
        self.count += 1;
        Ok(())
    }

    fn processes(&self) -> Result<Vec<u32>, Failure> {
        let status = self.instance.status()?;
        let paused = status.sandboxes.iter().filter(|one| one.state == SandboxState::Paused);
        let paused = paused.count();
        if paused < self.count {
            return Err(format!("only {paused} of {} are kept", self.count).into());
        }
        let mut processes = self.instance.servers()?;
        processes.push(status.pid);
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let root = mounts.lines().filter(|line| line.contains(" cgroup"));
        let root = root.filter_map(|line| line.split(' ').nth(1)).map(Path::new);
        let group = root.map(|root| root.join(&status.group)).find(|group| group.exists());
        for sandbox in fs::read_dir(group.ok_or("the instance has no control group")?)? {
            let path = sandbox?.path().join("cgroup.procs");
            let text = fs::read_to_string(path).unwrap_or_default();
            processes.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        Ok(processes)
    }
}
