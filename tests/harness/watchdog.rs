//! Ends a test that hangs, after reporting what hangs. Otherwise something outside would end the
//! whole run without a word about the cause.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::patience;
use super::process::Process;

/// Longest time that a test may take, in seconds: several times the time of the slowest one.
const LONGEST: u32 = 12 * 60;
/// Longest time of a test that only `tools/test --long` runs.
const LONGEST_LONG: u32 = 3 * 60 * 60;
/// Longest time that a test may go on, in seconds, after everything that it waits for has been ended.
const LAST: u32 = 180;
/// Age in clock ticks of processes that belong to the hanging test; those of other tests are younger.
const OLD_TICKS: u64 = 300 * TICKS_PER_SECOND;
const TICKS_PER_SECOND: u64 = 100;
/// Lines of a supervisor's log that are printed.
const LOG_LINES: usize = 60;

static RUNNING: Mutex<BTreeMap<String, Running>> = Mutex::new(BTreeMap::new());

#[derive(Debug, Clone, Copy)]
struct Running {
    ends: Instant,
    is_told: bool,
}

/// A running test that is watched until this is dropped.
#[derive(Debug)]
pub struct Watched(String);

/// Watches the test `name` from now on.
pub fn watch(name: &str, is_long: bool) -> Watched {
    let ends = Instant::now() + patience(if is_long { LONGEST_LONG } else { LONGEST });
    running().insert(name.to_owned(), Running { ends, is_told: false });
    Watched(name.to_owned())
}

impl Drop for Watched {
    fn drop(&mut self) {
        running().remove(&self.0);
    }
}

/// Watches the running tests as long as the process lives.
pub fn start() {
    thread::spawn(|| {
        loop {
            thread::sleep(Duration::from_secs(1));
            look();
        }
    });
}

fn running() -> MutexGuard<'static, BTreeMap<String, Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look() {
    let late = running().clone().into_iter().find(|(_, test)| Instant::now() > test.ends);
    let Some((name, test)) = late else { return };
    if test.is_told {
        eprintln!("test {name} hangs still, and all tests end");
        exit(101);
    }
    eprintln!("test {name} hangs; what is there:\n{}", describe());
    let told = Running { ends: Instant::now() + patience(LAST), is_told: true };
    running().insert(name, told);
    release();
}

/// Ends everything that the test may wait for: its commands, and requests of a mount without a server.
fn release() {
    for path in connections() {
        let _ = fs::write(path.join("abort"), "1");
    }
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime: u64 = uptime.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    for process in Process::all().into_iter().filter(is_child) {
        if process.started + OLD_TICKS < uptime * TICKS_PER_SECOND {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
    }
}

/// Folders of `/sys/fs/fuse/connections` whose requests wait without an answer, as far as one look can tell.
fn connections() -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/fs/fuse/connections").into_iter().flatten().flatten();
    let waits = |path: &Path| {
        let waiting = || fs::read_to_string(path.join("waiting")).unwrap_or_default();
        (0..20).all(|_| {
            thread::sleep(Duration::from_millis(50));
            waiting().trim() != "0"
        })
    };
    entries.map(|entry| entry.path()).filter(|path| waits(path)).collect()
}

/// A text about the test's processes, connections and logs.
fn describe() -> String {
    let is_ours = |process: &Process| {
        is_own(process) || is_child(process) || process.line().contains("pipsqueak")
    };
    let processes = Process::all().into_iter().filter(is_ours).map(|process| described(&process));
    let unanswered =
        connections().into_iter().map(|path| format!("unanswered: {}", path.display()));
    let folders = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let logs = folders.filter_map(|folder| {
        let log = folder.path().join("run/pipsqueakd.log");
        let said = fs::read_to_string(&log).ok()?;
        let lines: Vec<_> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        Some(format!("{}:\n{last}", log.display()))
    });
    processes.chain(unanswered).chain(logs).collect::<Vec<_>>().join("\n")
}

fn is_own(process: &Process) -> bool {
    u32::try_from(process.pid) == Ok(std::process::id())
}

fn is_child(process: &Process) -> bool {
    u32::try_from(process.parent) == Ok(std::process::id())
}

/// A process's command line, and the place in the kernel of each of its threads.
fn described(process: &Process) -> String {
    let threads = process.threads().into_iter().map(|thread| {
        let stack = format!("/proc/{}/task/{}/stack", process.pid, thread.pid);
        let stack = fs::read_to_string(stack).unwrap_or_default();
        let frames = stack.lines().filter_map(|line| line.split(['+', ' ']).nth(1));
        let frames = frames.take(8).collect::<Vec<_>>().join(" < ");
        format!("    {} {} {frames}", thread.name, thread.state)
    });
    // A program's text may be among its arguments.
    let line = process.line().replace('\n', " ");
    let process = format!("{} of {}: {line:.300}", process.pid, process.parent);
    [process].into_iter().chain(threads).collect::<Vec<_>>().join("\n")
}
