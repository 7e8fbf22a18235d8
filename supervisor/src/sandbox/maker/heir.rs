//! The maker's heir: the process that has forked it, and to which all falls that it leaves.
//!
//! Holders and programs are the maker's children. Where it is killed they fall to the next process above
//! it that takes in what others leave. That may be the first of a container, which often reaps nobody,
//! and then a sandbox does not end: the kernel waits until what was started in it has been reaped. So the
//! heir does nothing but reap, until nothing is left; a next maker has an heir of its own.

use std::io;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use pipsqueak_kernel::clone::{OneThread, Side};

/// Why there is no maker, or no heir.
#[derive(Debug, thiserror::Error)]
pub enum HeirError {
    /// prctl(2), `PR_SET_CHILD_SUBREAPER`.
    #[error("taking in the processes that others leave: {0}")]
    Subreaper(#[source] Errno),
    /// fork(2).
    #[error("forking the maker: {0}")]
    Fork(#[source] io::Error),
    /// prctl(2), `PR_SET_PDEATHSIG`.
    #[error("ending with the heir: {0}")]
    DeathSignal(#[source] Errno),
    /// The heir ended before the maker could end with it.
    #[error("the process that has started the maker was killed")]
    Orphaned,
    /// prctl(2), `PR_SET_NAME`.
    #[error("naming the heir: {0}")]
    Name(#[source] Errno),
    /// chdir(2).
    #[error("leaving the maker's folder: {0}")]
    Directory(#[source] io::Error),
    /// waitpid(2).
    #[error("reaping: {0}")]
    Reap(#[source] Errno),
}

/// Forks the maker; its number in the heir, nothing in the maker itself. That does not outlive the heir.
pub fn fork_maker(alone: OneThread) -> Result<Option<Pid>, HeirError> {
    let heir = getpid();
    prctl::set_child_subreaper(true).map_err(HeirError::Subreaper)?;
    match alone.fork().map_err(HeirError::Fork)? {
        Side::Parent(maker) => Ok(Some(maker)),
        Side::Child => {
            prctl::set_child_subreaper(true).map_err(HeirError::Subreaper)?;
            prctl::set_pdeathsig(Signal::SIGKILL).map_err(HeirError::DeathSignal)?;
            // After the signal was asked for: an heir that ended before sends none.
            if getppid() == heir {
                return Ok(None);
            }
            Err(HeirError::Orphaned)
        }
    }
}

/// In the heir: reaps until nothing is left, the maker included. It must hold nothing open of which others
/// wait for the end.
pub fn stand_by(maker: Pid) -> Result<(), HeirError> {
    prctl::set_name(c"heir").map_err(HeirError::Name)?;
    std::env::set_current_dir("/").map_err(HeirError::Directory)?;
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == maker => {
                tracing::error!(%signal, "the process that makes sandboxes was killed");
            }
            Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(HeirError::Reap(error)),
        }
    }
}
