//! Instances of Pipsqueak for tests, and what they may not leave behind.

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

/// The folder of downloads that all tests of a run share.
pub fn cache() -> PathBuf {
    let cache = CACHE.get_or_init(|| Mutex::new(Some(folder())));
    cache.lock().unwrap().as_ref().expect("tests are over").path().to_owned()
}

/// An instance with an environment `science` of pandas and requests, shared by tests that do not
/// change it.
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

/// Ends what tests share.
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

/// Where the binaries are: beside the tests'.
pub fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.ancestors().nth(2).unwrap();
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: tools/test builds it", path.display());
    path
}

/// A command whose program is on a mount that nobody may serve for a while. A shell executes it: what this
/// process forks has the pipes of all other commands open until it executes something, and whoever waits
/// for their end would wait for the mount.
pub fn command_on_mount(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\"", "sh"]).arg(program);
    command
}

/// Writes a function of one file into a folder; its path.
pub fn write(folder: &Path, name: &str, code: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, code).unwrap();
    path
}

/// How long something may take that takes so many seconds at most on a usual machine: as many times
/// that as `PIPSQUEAK_TEST_PATIENCE` says, which an emulated machine needs.
pub fn patience(seconds: u32) -> Duration {
    let said = std::env::var("PIPSQUEAK_TEST_PATIENCE").ok();
    let times: u32 = said.map_or(1, |times| times.parse().expect("PIPSQUEAK_TEST_PATIENCE"));
    Duration::from_secs(1) * seconds * times
}

/// Repeats a question until it is answered with `true`, for 30 seconds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = patience(30);
    let until = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < until, "not within {} seconds: {what}", patience.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether of a process at most its number is left. Whoever should reap it may not do so, nor those whom
/// the first process of a pid namespace waits for before it ends.
pub fn has_ended(pid: i32) -> bool {
    let seen = |name: &str| Path::new("/proc").join(pid.to_string()).join(name);
    // Gone once it has given back memory, files and all namespaces but those of its number and user.
    let is_kept = std::fs::read_link(seen("ns/mnt")).is_ok();
    // Other threads may go on, in the kernel, after the first.
    !is_kept && std::fs::read_dir(seen("task")).map_or(true, |threads| threads.count() <= 1)
}

/// Ends a process, by its number in a reply.
pub fn kill_9(pid: &serde_json::Value) {
    let pid = i32::try_from(pid.as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// Drops all that the kernel caches of files.
pub fn drop_caches() {
    drop(dropped_caches());
}

/// The same, and no test does it again until what this returns is dropped.
pub fn dropped_caches() -> File {
    let kept = kept_caches();
    std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    kept
}

/// Keeps tests from dropping what the kernel caches until what this returns is dropped.
/// Tests of another run as well: the machine has them once.
pub fn kept_caches() -> File {
    let file = File::create(std::env::temp_dir().join("pipsqueak-test-caches.lock")).unwrap();
    file.lock().unwrap();
    file
}
