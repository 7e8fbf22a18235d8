//! Network namespaces of sandboxes, as the supervisor finds and visits them.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use pipsqueak_kernel::pidfd;

/// Why nothing could be done in a network namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// open(2).
    #[error("opening {}: {source}", path.display())]
    Open {
        /// The namespace.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// poll(2) of the process's pidfd.
    #[error("looking whether the sandbox has ended: {0}")]
    Look(#[source] io::Error),
    /// The process has ended, and its number may be another's.
    #[error("the sandbox has ended")]
    Ended,
    /// setns(2).
    #[error("joining a network namespace: {0}")]
    Join(#[source] Errno),
    /// The act itself.
    #[error(transparent)]
    Act(#[from] io::Error),
    /// The thread that was in the namespace panicked.
    #[error("a thread in a network namespace panicked")]
    Panicked,
}

/// Opens the network namespace of the process that a pidfd is of.
pub fn of_process(process: BorrowedFd<'_>, pid: i32) -> Result<File, NamespaceError> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let namespace = File::open(&path).map_err(|source| NamespaceError::Open { path, source })?;
    // After the opening: the number would be another process's only after this one has ended.
    if pidfd::wait_end(process, Duration::ZERO).map_err(NamespaceError::Look)? {
        return Err(NamespaceError::Ended);
    }
    Ok(namespace)
}

/// Does something in a network namespace: on a thread, which may be in another than the rest.
pub fn inside<T: Send>(
    namespace: &File,
    act: impl FnOnce() -> io::Result<T> + Send,
) -> Result<T, NamespaceError> {
    std::thread::scope(|scope| {
        let there = || {
            setns(namespace, CloneFlags::CLONE_NEWNET).map_err(NamespaceError::Join)?;
            Ok(act()?)
        };
        scope.spawn(there).join().unwrap_or(Err(NamespaceError::Panicked))
    })
}
