//! The control group of one sandbox.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::counts::Counts;
use super::limits::{Controller, Controllers, Limits};
use crate::machine::files::{at, write_if_there};

/// The group of one sandbox.
#[derive(Debug)]
pub struct Group {
    pub(super) unified: Option<PathBuf>,
    pub(super) legacy: Vec<(String, PathBuf)>,
    pub(super) freezer: Option<(File, [&'static str; 2])>,
    pub(super) controllers: Controllers,
    pub(super) counts: Counts,
    /// Limits that it was told last.
    pub(super) limits: Mutex<Limits>,
}

impl Group {
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.unified.iter().chain(self.legacy.iter().map(|(_, path)| path))
    }

    /// Changes what it may use, at any time. A limit whose controller the machine does not have is
    /// left out; `doctor` and `up` tell.
    pub fn limit(&self, wanted: &Limits) -> io::Result<()> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        self.controllers.limit(wanted, &limits)?;
        *limits = *wanted;
        Ok(())
    }

    /// Lets it have one of so many equal parts of a function's part of the processors.
    pub fn weigh(&self, sharers: u32) -> io::Result<()> {
        let limits = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = limits.shared_among(sharers);
        if wanted == limits { Ok(()) } else { self.limit(&wanted) }
    }

    /// Opens `cgroup.procs` of each hierarchy: a process that writes `0` there joins, with the rights of
    /// the process that opened it.
    pub fn memberships(&self) -> io::Result<Vec<File>> {
        self.paths()
            .map(|path| {
                let path = path.join("cgroup.procs");
                let opened = OpenOptions::new().write(true).open(&path);
                opened.map_err(at(&path))
            })
            .collect()
    }

    /// Stops all processes where they are. Takes effect for each when it next leaves the kernel.
    pub fn freeze(&self) -> io::Result<()> {
        self.set_frozen(1)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> io::Result<()> {
        self.set_frozen(0)
    }

    fn set_frozen(&self, state: usize) -> io::Result<()> {
        match &self.freezer {
            Some((file, words)) => file.write_all_at(words[state].as_bytes(), 0),
            None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "no freezer: mount cgroup2 or the v1 freezer",
            )),
        }
    }

    /// Memory charged to it, in bytes; 0 where the machine does not count.
    pub fn memory(&self) -> u64 {
        self.counts.used()
    }

    /// Memory charged to it that is no file's, in bytes; 0 where the machine does not count.
    pub fn anonymous(&self) -> u64 {
        let (path, name) = match &self.controllers.memory {
            Some(Controller::V1(path)) => (path, "rss "),
            Some(Controller::V2(path)) => (path, "anon "),
            None => return 0,
        };
        let text = fs::read_to_string(path.join("memory.stat")).unwrap_or_default();
        let bytes = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        bytes.unwrap_or(0)
    }

    /// Number of its processes that were ended for going over the memory limit.
    pub fn oom_kills(&self) -> u64 {
        self.counts.oom_kills()
    }

    /// Processes of the group, numbered as on the host.
    pub fn processes(&self) -> Vec<u32> {
        self.paths().next().map(|path| processes(path)).unwrap_or_default()
    }

    /// Ends all its processes and removes it.
    pub fn end(&self) -> io::Result<()> {
        self.paths().try_for_each(|path| end_processes(path))?;
        self.remove()
    }

    /// Removes it; its processes must have ended, but may still be on their way out.
    pub fn remove(&self) -> io::Result<()> {
        self.paths().try_for_each(|path| remove(path))
    }
}

pub(super) fn end_processes(group: &Path) -> io::Result<()> {
    // A v1 freezer holds back even the last signal.
    write_if_there(&group.join("freezer.state"), "THAWED")?;
    for pid in processes(group) {
        match kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

pub(super) fn processes(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

pub(super) fn create(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Removes one group, waiting for processes that are on their way out.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at(path)(error));
            }
            _ => return Ok(()),
        }
    }
}
