//! Having files of the interpreter read, which an import needs besides those of the mount.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Files that may wait.
const WAITING: usize = 1 << 14;

/// A thread that has files read. Finding a cold one takes a few reads of the disk, which those of
/// the mount must not wait for.
#[derive(Debug)]
pub struct Host(SyncSender<PathBuf>);

impl Host {
    /// Starts it; it ends when this is dropped.
    pub fn start() -> io::Result<Self> {
        let (files, asked) = sync_channel(WAITING);
        thread::Builder::new().name("host-files".to_owned()).spawn(move || read_all(&asked))?;
        Ok(Self(files))
    }

    /// Has a file's pages read, as soon as those before it have been asked for.
    pub fn read(&self, path: &str) {
        // More than fit are read when they are needed.
        let _ = self.0.try_send(path.into());
    }
}

fn read_all(asked: &Receiver<PathBuf>) {
    for path in asked {
        if let Err(error) = read(&path) {
            tracing::debug!(%error, path = %path.display(), "not read ahead");
        }
    }
}

/// The trace was printed beside package code: what it names is only opened where that does nothing.
fn read(path: &Path) -> io::Result<()> {
    let named = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
    if !named.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let file = File::open(format!("/proc/self/fd/{}", named.as_raw_fd()))?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_WILLNEED)?;
    Ok(())
}

/// True if a thread runs an executable of the host, in whichever mount namespace.
pub fn runs(thread: u32, executable: &Path) -> bool {
    let identity =
        |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let running = identity(Path::new(&format!("/proc/{thread}/exe")));
    running.is_some() && running == identity(executable)
}
