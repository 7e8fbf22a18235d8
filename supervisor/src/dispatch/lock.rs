//! The lock of an instance: one supervisor at a time.
//!
//! A supervisor that was killed holds its lock, its socket and its other files until the last of its
//! threads is gone. The next supervisor, if it starts at once, waits for that.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;
use pipsqueak::process::Process;
use pipsqueak_kernel::pidfd;

/// Longest wait for the rest of a killed supervisor to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two tries of the lock. The kernel does not tell when it is free.
const PACE: Duration = Duration::from_millis(5);

/// Reason that the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another supervisor holds the lock.
    #[error("a supervisor is running already (process {pid}), with its socket in {}; \
        `pipsqueak down` stops it", run.display())]
    Running {
        /// The folder of the socket.
        run: PathBuf,
        /// The process of the other supervisor.
        pid: u32,
    },
    /// The supervisor has ended, but another process that it has left holds the lock.
    #[error("{} is still locked {} s after the end of its supervisor{}; end {}, or name another place \
        with --run", path.display(), PATIENCE.as_secs(),
        last.map_or_else(String::new, |last| format!(" (process {})", last.pid)),
        holders(path))]
    Left {
        /// The lock's file.
        path: PathBuf,
        /// The supervisor that held the lock last, if it is known.
        last: Option<Process>,
    },
    /// The file system, or the list of processes, failed.
    #[error("{}: {error}", path.display())]
    File {
        /// The lock's file.
        path: PathBuf,
        /// The error of the call.
        error: io::Error,
    },
}

/// The lock of an instance. Its file names the process that holds it.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock of the instance whose sockets are in `run`. Waits for the end of a supervisor
    /// that was killed. Blocks.
    pub fn take(run: &Path) -> Result<Self, LockError> {
        let path = run.join("supervisor.lock");
        let until = Instant::now() + PATIENCE;
        let mut is_told = false;
        loop {
            let at = |error| LockError::File { path: path.clone(), error };
            let mut options = File::options();
            let options = options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path).map_err(at)?;
            // Read before it is overwritten. `None` if the file is new, or just being written.
            let last: Option<Process> =
                fs::read_to_string(&path).ok().and_then(|text| text.parse().ok());
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) if is_at(&file, &path).map_err(at)? => {
                    if let Some(last) = last {
                        await_end(last, until).map_err(at)?;
                    }
                    let own = Process::own().map_err(at)?;
                    file.set_len(0).map_err(at)?;
                    (&*file).write_all(format!("{own}\n").as_bytes()).map_err(at)?;
                    return Ok(Self { path, _file: file });
                }
                // The last holder removed the file after we opened it and before we locked it.
                Ok(_) => continue,
                Err((_, Errno::EWOULDBLOCK)) => {}
                Err((_, error)) => return Err(at(error.into())),
            }
            if let Some(last) = last
                && last.is_running().map_err(at)?
            {
                return Err(LockError::Running { run: run.to_owned(), pid: last.pid });
            }
            if Instant::now() > until {
                return Err(LockError::Left { path, last });
            }
            if !is_told {
                tracing::info!(lock = %path.display(), "waiting for what a supervisor has left");
                is_told = true;
            }
            thread::sleep(PACE);
        }
    }

    /// Path of the lock's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Waits until the lock's earlier holder is gone, because until then it may hold other files of the instance.
fn await_end(last: Process, until: Instant) -> io::Result<()> {
    // This process held the lock before, when it ran the program that was replaced.
    if last.pid == std::process::id() {
        return Ok(());
    }
    let process = match pidfd::open(Pid::from_raw(last.pid.cast_signed())) {
        Ok(process) => process,
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => return Ok(()),
        Err(error) => return Err(error),
    };
    // Another process may have the number by now.
    if last.is_there()?
        && !pidfd::wait_end(process.as_fd(), until.saturating_duration_since(Instant::now()))?
    {
        tracing::warn!(pid = last.pid, "the supervisor before this one does not end");
    }
    Ok(())
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?.ino();
    match fs::metadata(path) {
        Ok(now) => Ok(now.ino() == held),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Processes that have a file open, as text for a message.
fn holders(path: &Path) -> String {
    let has_it = |process: &PathBuf| {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        open.map(|entry| entry.path()).any(|one| fs::read_link(one).is_ok_and(|to| to == path))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.map(|entry| entry.path()).filter(has_it);
    let own = std::process::id().to_string();
    let numbers = processes.filter_map(|process| process.file_name()?.to_str().map(str::to_owned));
    let numbers: Vec<_> = numbers.filter(|number| *number != own && number != "self").collect();
    if numbers.is_empty() {
        "the process that has it open".to_owned()
    } else {
        format!("what has it open (process {})", numbers.join(", "))
    }
}
