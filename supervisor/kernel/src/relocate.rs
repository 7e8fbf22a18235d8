//! Forking into namespaces that the caller itself stays out of.
//!
//! A pid namespace is entered by being forked in it, so a process that forks children into others'
//! needs somebody who joins theirs first. A fork for that would copy all page tables of a large
//! process once more than needed. What joins here is a *usher*: a process that borrows the caller's
//! memory and stack, as after vfork(2), and so costs next to nothing. It forks, and ends.
//!
//! Libraries find out by their process's number that they were forked: OpenSSL would else give a child
//! the random numbers that it gives its parent. In pid namespaces of their own both could have the same
//! number, so the usher makes processes that end at once until the next number is past the parent's.
//! Thus a child's number is that of no process that it descends from.

use std::ffi::c_void;
use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

/// Which side of [`fork_elsewhere`] this is.
#[derive(Debug, PartialEq, Eq)]
pub enum Side {
    /// The new process, in the namespaces joined.
    Child,
    /// The process that called; the child's number in its pid namespace.
    Parent(i32),
}

/// What an usher is to do, and how that went.
struct Errand<'a> {
    join: &'a mut dyn FnMut() -> io::Result<()>,
    /// The caller's number in its pid namespace.
    number: i32,
    outcome: io::Result<i32>,
}

/// Forks a child that lives where `join` leads: `join` runs in a process that changes its own
/// namespaces, control groups and so on, and then forks by libc's `fork`, its handlers included. The
/// caller is suspended meanwhile and stays where it is. The child is one of the caller's pid
/// namespace's init.
///
/// The child's number in its own pid namespace is greater than the caller's in the caller's. What
/// `join` writes to memory, the caller and the child find there.
///
/// # Safety
///
/// As fork(2): in a process with several threads, the child may only do what is safe after a fork
/// there. `join` must not unwind, and must not start threads.
pub unsafe fn fork_elsewhere(join: &mut dyn FnMut() -> io::Result<()>) -> io::Result<Side> {
    let number = nix::unistd::getpid().as_raw();
    let outcome = Err(io::Error::from_raw_os_error(libc::EPROTO));
    let mut errand = Errand { join, number, outcome };
    // A handler that ran in the usher would run in the caller's memory.
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: `errand` outlives the usher, which ends before this returns in the caller; in the child it
    // is a copy.
    let answer = unsafe { borrow_stack(usher, std::ptr::from_mut(&mut errand).cast()) };
    let restored = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    match answer {
        0 => restored.map(|()| Side::Child).map_err(Into::into),
        error @ ..0 => {
            Err(io::Error::from_raw_os_error(i32::try_from(-error).unwrap_or(libc::EIO)))
        }
        process => {
            // Reaps it, unless the caller ignores its children's ends.
            let process = i32::try_from(process).unwrap_or(-1);
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(process, std::ptr::null_mut(), 0) };
            restored?;
            Ok(Side::Parent(errand.outcome?))
        }
    }
}

/// Returns, with 0, in the child alone.
unsafe extern "C" fn usher(errand: *mut c_void) -> i64 {
    // SAFETY: the caller of `borrow_stack` gave this pointer, and is suspended.
    let errand = unsafe { &mut *errand.cast::<Errand<'_>>() };
    errand.outcome = (errand.join)().and_then(|()| pass_numbers(errand.number)).and_then(|()| {
        // SAFETY: promised by the caller of `fork_elsewhere`.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            child => Ok(child),
        }
    });
    if matches!(errand.outcome, Ok(0)) {
        return 0;
    }
    // SAFETY: ends this process without running anything of the memory that it has borrowed.
    unsafe { libc::_exit(0) }
}

/// Uses up numbers of processes, those up to `last` included.
fn pass_numbers(last: i32) -> io::Result<()> {
    let mut passed = 0;
    while passed < last {
        // SAFETY: `passed` outlives the process, which ends before this returns.
        let process = unsafe { borrow_stack(tell_number, std::ptr::from_mut(&mut passed).cast()) };
        let Ok(process @ 1..) = i32::try_from(process) else {
            return Err(io::Error::from_raw_os_error(i32::try_from(-process).unwrap_or(libc::EIO)));
        };
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(process, std::ptr::null_mut(), 0) };
    }
    Ok(())
}

/// Tells its process's number, and ends it.
unsafe extern "C" fn tell_number(number: *mut c_void) -> i64 {
    // SAFETY: the caller of `borrow_stack` gave this pointer, and is suspended.
    unsafe { *number.cast::<i32>() = nix::unistd::getpid().as_raw() };
    // SAFETY: ends this process without running anything of the memory that it has borrowed.
    unsafe { libc::_exit(0) }
}

/// Calls `body` in a process that shares the caller's memory, and its stack below this frame. The
/// caller goes on when that process has ended, with its number or a negative errno. Where `body`
/// returns, in a process of which nobody shares the memory, so does this, with what it returned.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
unsafe fn borrow_stack(
    body: unsafe extern "C" fn(*mut c_void) -> i64,
    argument: *mut c_void,
) -> i64 {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let answer: i64;
    // SAFETY: without a stack of its own the new process goes on with the caller's, which waits. All that it
    // does on it is in calls made from here, so nothing above this frame's end is changed; registers
    // that the caller needs afterwards are its own.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12",
            "call r13",
            "2:",
            inlateout("rax") libc::SYS_clone => answer,
            in("rdi") flags,
            in("rsi") 0,
            in("rdx") 0,
            in("r10") 0,
            in("r8") 0,
            in("r12") argument,
            in("r13") body,
            clobber_abi("C"),
        );
    }
    answer
}

/// The same.
#[cfg(target_arch = "aarch64")]
#[inline(never)]
unsafe fn borrow_stack(
    body: unsafe extern "C" fn(*mut c_void) -> i64,
    argument: *mut c_void,
) -> i64 {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let answer: i64;
    // SAFETY: as on x86_64.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x0, x20",
            "blr x21",
            "2:",
            inlateout("x0") i64::from(flags) => answer,
            in("x1") 0,
            in("x2") 0,
            in("x3") 0,
            in("x4") 0,
            in("x8") libc::SYS_clone,
            in("x20") argument,
            in("x21") body,
            clobber_abi("C"),
        );
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn the_child_returns_and_the_caller_stays() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let mut joined = 0;
        let own = std::process::id();
        let mut seen = 0;
        let mut join = || {
            joined += 1;
            seen = std::process::id();
            Ok(())
        };
        // SAFETY: the child writes and ends.
        match unsafe { fork_elsewhere(&mut join) }.unwrap() {
            Side::Child => {
                let _ = writer.write_all(&std::process::id().to_le_bytes());
                // SAFETY: as above.
                unsafe { libc::_exit(0) }
            }
            Side::Parent(child) => {
                assert_eq!(joined, 1);
                assert!(seen != own && seen != child.cast_unsigned());
                drop(writer);
                let mut told = [0; 4];
                reader.read_exact(&mut told).unwrap();
                assert_eq!(u32::from_le_bytes(told), child.cast_unsigned());
            }
        }
    }

    #[test]
    fn a_refusal_is_told_and_nothing_is_forked() {
        let mut join = || Err(io::Error::from_raw_os_error(libc::EACCES));
        // SAFETY: there is no child.
        let error = unsafe { fork_elsewhere(&mut join) }.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    }
}
