//! Instances of Pipsqueak for tests, and checks of their leftovers.

mod catcher;
mod disk;
mod index;
mod instance;
mod interpreters;
mod leftovers;
mod manager;
mod process;
pub mod watchdog;
pub mod world;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use catcher::Catcher;
pub use disk::SmallDisk;
pub use index::{Index, Silent};
pub use instance::{Instance, Options, Output};
pub use interpreters::interpreters;
pub use leftovers::{remove_groups, wait_until_gone};
pub use manager::Manager;
pub use process::Process;
pub use world::World;

static CACHE: OnceLock<Mutex<Option<tempfile::TempDir>>> = OnceLock::new();
static SHARED: Mutex<Option<Arc<Instance>>> = Mutex::new(None);

/// The folder of downloads, shared by all tests of a run.
pub fn cache() -> PathBuf {
    let cache = CACHE.get_or_init(|| Mutex::new(Some(folder())));
    cache.lock().unwrap().as_ref().expect("tests are over").path().to_owned()
}

/// An instance with an environment `science` of pandas and requests, shared by tests that do not change it.
pub fn shared() -> Arc<Instance> {
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    shared
        .get_or_insert_with(|| {
            let instance = Instance::start(&Options::default());
            instance.ok(&["env", "add", "science", "pandas", "requests"]);
            Arc::new(instance)
        })
        .clone()
}

/// Ends the instances that tests share.
pub fn end_shared() {
    drop(SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    if let Some(cache) = CACHE.get() {
        drop(cache.lock().unwrap().take());
    }
}

/// A temporary folder.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("pipsqueak-test-").tempdir().unwrap()
}

/// The path of a binary, which is beside the tests' own.
pub fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.ancestors().nth(2).unwrap();
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: tools/test builds it", path.display());
    path
}

/// A command whose program is on a mount that may be without a server for a while. A shell executes
/// the program: a fork of this process has the pipes of all other commands open until it executes
/// something, so that readers of those pipes would wait for the mount.
pub fn command_on_mount(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\"", "sh"]).arg(program);
    command
}

/// Writes a function of one file into a folder; returns its path.
pub fn write(folder: &Path, name: &str, code: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, code).unwrap();
    path
}

/// A time limit of so many seconds, multiplied by `PIPSQUEAK_TEST_PATIENCE` for slow machines such
/// as emulated ones.
pub fn patience(seconds: u32) -> Duration {
    let said = std::env::var("PIPSQUEAK_TEST_PATIENCE").ok();
    let times: u32 = said.map_or(1, |times| times.parse().expect("PIPSQUEAK_TEST_PATIENCE"));
    Duration::from_secs(1) * seconds * times
}

/// Repeats a question until its answer is `true`, for 30 seconds at most.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = patience(30);
    let until = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < until, "not within {} seconds: {what}", patience.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// True if at most the number of a process is left. Its parent may not reap it, and neither does
/// the end of a pid namespace's first process wait for that.
pub fn has_ended(pid: i32) -> bool {
    let seen = |name: &str| Path::new("/proc").join(pid.to_string()).join(name);
    // Gone once it has given back memory, files and all namespaces but those of its number and user.
    let is_kept = std::fs::read_link(seen("ns/mnt")).is_ok();
    // Other threads may go on, in the kernel, after the first.
    !is_kept && std::fs::read_dir(seen("task")).map_or(true, |threads| threads.count() <= 1)
}

/// Kills the process whose number a reply holds.
pub fn kill_9(pid: &serde_json::Value) {
    let pid = i32::try_from(pid.as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// Drops the kernel's caches of files.
pub fn drop_caches() {
    drop(dropped_caches());
}

/// Drops the kernel's caches of files; no test does so again until the returned value is dropped.
pub fn dropped_caches() -> File {
    let kept = kept_caches();
    std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    kept
}

/// Keeps tests from dropping the kernel's caches until the returned value is dropped.
/// Tests of other runs on the machine are kept from it as well.
pub fn kept_caches() -> File {
    let file = File::create(std::env::temp_dir().join("pipsqueak-test-caches.lock")).unwrap();
    file.lock().unwrap();
    file
}
