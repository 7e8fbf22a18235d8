//! Giving up what a process may do.

use std::io;
use std::os::fd::BorrowedFd;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid, write};

/// All namespaces of a sandbox but that of its network, which may be the host's.
pub const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// Joins all namespaces of the process behind a pidfd.
///
/// Allowed for whoever owns its user namespace, even without a capability. The pid namespace
/// is that of children forked from now on. Naming the network namespace is right also where that
/// is the host's: joining the one that one is in needs no privilege over it in the user namespace
/// joined, so it is left out then.
pub fn join(holder: BorrowedFd<'_>, own_network: bool) -> io::Result<()> {
    let mut namespaces = NAMESPACES;
    if own_network {
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    Ok(setns(holder, namespaces)?)
}

/// Joins the control groups behind `memberships`, each an open `cgroup.procs`.
pub fn join_groups(memberships: &[BorrowedFd<'_>]) -> io::Result<()> {
    memberships.iter().try_for_each(|membership| Ok(write(membership, b"0").map(drop)?))
}

/// Becomes a user without any capability, now and after any exec, in a session of its own: without a
/// terminal, and in no group of processes that reaches outside. For a process that was just forked.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setsid()?;
    drop_bounding_set()?;
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    drop_capabilities()?;
    prctl::set_no_new_privs()?;
    // As after an exec, without which its own files in /proc would be root's.
    Ok(prctl::set_dumpable(true)?)
}

/// Leaves the keys that this process has from whoever started it, for a new and empty ring.
pub fn leave_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: i32 = 1;
    let unnamed = std::ptr::null::<libc::c_char>();
    // SAFETY: no name is given.
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, unnamed) };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Whoever may not ask, or has nobody to ask, has no way to the keys either.
        _ if answer >= 0 => Ok(()),
        Some(libc::ENOSYS | libc::EPERM) => Ok(()),
        _ => Err(error),
    }
}

/// Changes the user and keeps capabilities over the user namespace: for processes of the
/// supervisor's own that set up a sandbox.
pub fn change_user(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // A change of user makes a process unreadable for its peers; joining its namespaces is refused
    // then, also to the owner of them.
    Ok(prctl::set_dumpable(true)?)
}

fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: PR_CAPBSET_DROP takes an integer.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0 {
            let error = io::Error::last_os_error();
            // The first number that the kernel does not know ends the list.
            return if error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Empties the effective, permitted, inheritable and ambient sets.
pub fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let none = [Sets { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: version 3 takes a header and two sets, laid out as in linux/capability.h; both live
    // through the call. Ambient capabilities go with the permitted ones.
    let answer =
        unsafe { libc::syscall(libc::SYS_capset, std::ptr::from_ref(&header), none.as_ptr()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
