//! Making processes.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::sched::CloneFlags;
use nix::unistd::{ForkResult, Pid, fork};

/// Side of a fork.
#[derive(Debug)]
pub enum Side {
    /// The new process.
    Child,
    /// The process that called; the child's number as seen in its pid namespace.
    Parent(Pid),
}

/// Says that this process has one thread, which makes forking it safe: no lock can be held by
/// another one and stay locked in the child for ever.
///
/// This is found out once and stays true in forks; a process that holds one must not start threads.
#[derive(Debug, Clone, Copy)]
pub struct OneThread(());

impl OneThread {
    /// Counts the threads of this process; `EDEADLK` if there are several.
    pub fn check() -> io::Result<Self> {
        if std::fs::read_dir("/proc/self/task")?.count() == 1 {
            Ok(Self(()))
        } else {
            Err(io::Error::from_raw_os_error(libc::EDEADLK))
        }
    }

    /// Forks.
    pub fn fork(self) -> io::Result<Side> {
        // SAFETY: the process has one thread, so the child finds every lock and the allocator
        // whole.
        match unsafe { fork() }? {
            ForkResult::Child => Ok(Side::Child),
            ForkResult::Parent { child } => Ok(Side::Parent(child)),
        }
    }
}

/// Forks a sibling: a child of the caller's parent, in the new namespaces that `namespaces` names.
///
/// The parent is not signalled at its end. Returns `None` in the sibling, its pidfd in the caller.
/// For a process with one thread only, and one that exits soon: libc's idea of its own thread
/// number is stale in the sibling, so that must neither start threads nor call `raise`.
pub fn sibling(namespaces: CloneFlags) -> io::Result<Option<OwnedFd>> {
    let mut pidfd: RawFd = -1;
    let flags = namespaces | CloneFlags::CLONE_PARENT;
    // SAFETY: clone_args is plain data for which all zeroes is valid.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from(flags.bits().cast_unsigned()) | libc::CLONE_PIDFD as u64;
    arguments.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    // SAFETY: no stack is given and CLONE_VM is not set, so the child goes on in a copy of this
    // memory as after fork; the pointers in `arguments` live through the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_mut(&mut arguments),
            size_of::<libc::clone_args>(),
        )
    };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        // SAFETY: the kernel stored a new descriptor, owned by nobody else.
        _ => Ok(Some(unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}
