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

/// Forks the maker; its number in the heir, nothing in the maker itself. That does not outlive the heir.
pub fn fork_maker(alone: OneThread) -> io::Result<Option<Pid>> {
    let heir = getpid();
    prctl::set_child_subreaper(true)?;
    match alone.fork()? {
        Side::Parent(maker) => Ok(Some(maker)),
        Side::Child => {
            prctl::set_child_subreaper(true)?;
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid() == heir {
                return Ok(None);
            }
            Err(io::Error::other("the process that has started this one was killed"))
        }
    }
}

/// In the heir: reaps until nothing is left, the maker included. It must hold nothing open of which others
/// wait for the end.
pub fn stand_by(maker: Pid) -> io::Result<()> {
    prctl::set_name(c"heir")?;
    std::env::set_current_dir("/")?;
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == maker => {
                tracing::error!(%signal, "the process that makes sandboxes was killed");
            }
            Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
