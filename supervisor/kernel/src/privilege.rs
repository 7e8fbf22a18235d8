//! Giving up what a process may do.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};

/// All namespaces of a sandbox but that of its network, which may be the host's.
pub const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// User and group of code in a sandbox, a zygote's as well, as numbered inside.
pub const INSIDE: u32 = 1000;

/// User 0 is no more than others, changes of user bring and cost no capability, none is raised for an exec, and
/// all of that is for good: `SECBIT_*` of linux/securebits.h.
pub const SECURE: u32 = 0b1110_1111;

/// Changes of user cost no capability.
const NO_SETUID_FIXUP: u32 = 1 << 2;

/// The layout of capabilities that is used here, as linux/capability.h names it.
pub(crate) const CAPABILITY_VERSION: u32 = 0x2008_0522;
const CAP_SETUID: u32 = 7;

/// The namespaces of a sandbox.
pub fn namespaces(own_network: bool) -> CloneFlags {
    if own_network { NAMESPACES | CloneFlags::CLONE_NEWNET } else { NAMESPACES }
}

/// Joins all namespaces of the process behind a pidfd, for a process that has all capabilities over them.
///
/// The pid namespace is that of children forked from now on. Naming the network namespace is right also where that
/// is the host's: joining the one that one is in needs no privilege over it in the user namespace
/// joined, so it is left out then.
pub fn join(holder: BorrowedFd<'_>, own_network: bool) -> io::Result<()> {
    Ok(setns(holder, namespaces(own_network))?)
}

/// Becomes a user without any capability, now and after any exec, in a session of its own: without a
/// terminal, and in no group of processes that reaches outside. For a process that was just forked.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    drop_bounding_set()?;
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    secure()?;
    setresuid(uid, uid, uid)?;
    drop_capabilities()?;
    prctl::set_no_new_privs()?;
    settle()
}

/// Begins a session of its own, in a process that has been given its user.
pub fn settle() -> io::Result<()> {
    setsid()?;
    // As after an exec, without which its own files in /proc would be root's.
    Ok(prctl::set_dumpable(true)?)
}

/// Variant of [`become_user`] that keeps one capability, that of changing its user, which survives the next exec:
/// the process that waits for the new program takes it away ([`crate::arrival`]).
pub fn become_user_for_now(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let mut sets = capabilities()?;
    sets[0].inheritable = 1 << CAP_SETUID;
    set_capabilities(sets)?;
    drop_bounding_set()?;
    // SAFETY: PR_CAP_AMBIENT_RAISE takes integers.
    Errno::result(unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, CAP_SETUID, 0, 0)
    })?;
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    secure()?;
    setresuid(uid, uid, uid)?;
    let user = 1 << CAP_SETUID;
    set_capabilities([Sets { effective: user, permitted: user, inheritable: user }, Sets::NONE])?;
    prctl::set_no_new_privs()?;
    settle()
}

/// Leaves the keys that this process has from its parent, for a new and empty ring.
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
    // SAFETY: PR_SET_SECUREBITS takes an integer.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0) })?;
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

/// Sets what users and capabilities have to do with each other, for good.
fn secure() -> io::Result<()> {
    // SAFETY: PR_SET_SECUREBITS takes an integer.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECURE, 0, 0, 0) })?;
    Ok(())
}

/// Half of a process's sets of capabilities, laid out as in linux/capability.h.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Sets {
    const NONE: Self = Self { effective: 0, permitted: 0, inheritable: 0 };
}

/// Header that tells the kernel the process, and the layout of its sets.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

impl Header {
    const OWN: Self = Self { version: CAPABILITY_VERSION, pid: 0 };
}

/// Empties the effective, permitted, inheritable and ambient sets.
pub fn drop_capabilities() -> io::Result<()> {
    set_capabilities([Sets::NONE; 2])
}

fn set_capabilities(sets: [Sets; 2]) -> io::Result<()> {
    let header = Header::OWN;
    // SAFETY: this version takes a header and two sets; both live through the call. Ambient capabilities
    // go with the permitted ones.
    let answer =
        unsafe { libc::syscall(libc::SYS_capset, std::ptr::from_ref(&header), sets.as_ptr()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn capabilities() -> io::Result<[Sets; 2]> {
    let mut header = Header::OWN;
    let mut sets = [Sets::NONE; 2];
    // SAFETY: as above; both have room for what is written.
    let answer = unsafe {
        libc::syscall(libc::SYS_capget, std::ptr::from_mut(&mut header), sets.as_mut_ptr())
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(sets) }
}
