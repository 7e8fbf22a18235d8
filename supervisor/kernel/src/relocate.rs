//! Forking into namespaces that the caller itself stays out of.
//!
//! A pid namespace is entered by being forked in it, so a process that forks children into others'
//! needs another process that joins theirs first. A fork for that would copy all page tables of a large
//! process once more than needed. The process that joins here is an *usher*: it borrows the caller's
//! memory and stack, as after vfork(2), and so costs next to nothing. It forks, and ends. If another process
//! might change what it does next, by way of that memory, it has a copy of the memory instead.
//!
//! Libraries find out by their process's number that they were forked: OpenSSL would else give a child
//! the random numbers that it gives its parent. In pid namespaces of their own both could have the same
//! number, so the usher makes processes that end at once until the next number is past the parent's.
//! Thus a child's number is that of no process that it descends from.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Read, Write};

/// Side of [`fork_elsewhere`].
#[derive(Debug, PartialEq, Eq)]
pub enum Side {
    /// The new process, in the namespaces joined.
    Child,
    /// The process that called; the child's number in its pid namespace.
    Parent(i32),
}

/// Errand of an usher.
struct Errand<'a> {
    join: &'a mut dyn FnMut() -> io::Result<()>,
    /// The caller's number in its pid namespace.
    number: i32,
    /// Place where the usher tells the child's number.
    told: File,
}

/// Memory of an usher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The caller's memory; the caller is suspended meanwhile.
    Borrowed,
    /// A copy of the caller's memory.
    Copied,
}

/// Forks a child that lives where `join` leads: `join` runs in a process that changes its own
/// namespaces and user, and then forks by libc's `fork`, its handlers included. The caller stays where it is.
/// The child is one of the caller's pid namespace's init.
///
/// The child's number in its own pid namespace is greater than the caller's in the caller's. No signal is
/// handled in the usher, those of the C library's own included.
///
/// # Safety
///
/// As fork(2): in a process with several threads, the child may only do what is safe after a fork
/// there. `join` must not unwind, and must not start threads.
pub unsafe fn fork_elsewhere(
    memory: Memory,
    join: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Side> {
    let number = nix::unistd::getpid().as_raw();
    let (mut told, telling) = io::pipe()?;
    let mut errand = Errand { join, number, told: File::from(std::os::fd::OwnedFd::from(telling)) };
    let flags = match memory {
        Memory::Borrowed => libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
        Memory::Copied => libc::SIGCHLD,
    };
    // A handler that ran in the usher would run in the caller's memory.
    let before = block_signals(u64::MAX)?;
    // SAFETY: `errand` outlives the usher, which ends before this returns in the caller; in the child, and where
    // memory is copied, it is a copy.
    let answer = unsafe { borrow_stack(flags, usher, std::ptr::from_mut(&mut errand).cast()) };
    let restored = block_signals(before);
    let usher = match i32::try_from(answer) {
        Ok(0) => return restored.map(|_| Side::Child),
        Ok(usher @ 1..) => usher,
        _ => return Err(io::Error::from_raw_os_error(i32::try_from(-answer).unwrap_or(libc::EIO))),
    };
    drop(errand);
    let mut child = [0; 4];
    let has_told = told.read_exact(&mut child);
    let mut status = 0;
    // Reaps it, unless the caller ignores its children's ends.
    // SAFETY: `status` has room for what is written.
    unsafe { libc::waitpid(usher, &raw mut status, 0) };
    restored?;
    match has_told {
        Ok(()) => Ok(Side::Parent(i32::from_le_bytes(child))),
        Err(_) if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != 0 => {
            Err(io::Error::from_raw_os_error(libc::WEXITSTATUS(status)))
        }
        Err(_) => Err(io::Error::from_raw_os_error(libc::EPROTO)),
    }
}

/// Blocks the signals of a mask, those of the C library's own as well, and no others; the mask before.
fn block_signals(mask: u64) -> io::Result<u64> {
    let mut before = 0u64;
    // SAFETY: both masks are of the eight bytes that the kernel is told of.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            size_of::<u64>(),
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(before) }
}

/// Returns, with 0, in the child alone.
unsafe extern "C" fn usher(errand: *mut c_void) -> i64 {
    // SAFETY: the caller of `borrow_stack` gave this pointer, and is suspended or has other memory.
    let errand = unsafe { &mut *errand.cast::<Errand<'_>>() };
    let forked = (errand.join)().and_then(|()| pass_numbers(errand.number)).and_then(|()| {
        // SAFETY: promised by the caller of `fork_elsewhere`.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            child => Ok(child),
        }
    });
    let code = match forked {
        Ok(0) => return 0,
        Ok(child) => errand.told.write_all(&child.to_le_bytes()).map_or(libc::EIO, |()| 0),
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    // SAFETY: ends this process without running anything of the memory that it has borrowed.
    unsafe { libc::_exit(code) }
}

/// Uses up numbers of processes, those up to `last` included.
fn pass_numbers(last: i32) -> io::Result<()> {
    let mut passed = 0;
    while passed < last {
        // SAFETY: `passed` outlives the process, which ends before this returns.
        let process = unsafe {
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            borrow_stack(flags, tell_number, std::ptr::from_mut(&mut passed).cast())
        };
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

/// Calls `body` in a process that `flags` say how to make: one that shares the caller's memory, and its stack below
/// this frame, while the caller waits for its end; or one with a copy. The caller goes on with that process's
/// number or a negative errno. Where `body` returns, in a process of which nobody shares the memory, so does this,
/// with what it returned.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
unsafe fn borrow_stack(
    flags: i32,
    body: unsafe extern "C" fn(*mut c_void) -> i64,
    argument: *mut c_void,
) -> i64 {
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
            in("rdi") i64::from(flags),
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

/// Calls `body` on a borrowed stack, on this architecture.
#[cfg(target_arch = "aarch64")]
#[inline(never)]
unsafe fn borrow_stack(
    flags: i32,
    body: unsafe extern "C" fn(*mut c_void) -> i64,
    argument: *mut c_void,
) -> i64 {
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

    #[test]
    fn the_child_returns_and_the_caller_stays() {
        for memory in [Memory::Borrowed, Memory::Copied] {
            let (mut reader, mut writer) = io::pipe().unwrap();
            let own = std::process::id();
            let mut join = || Ok(());
            // SAFETY: the child writes and ends.
            match unsafe { fork_elsewhere(memory, &mut join) }.unwrap() {
                Side::Child => {
                    let _ = writer.write_all(&std::process::id().to_le_bytes());
                    // SAFETY: as above.
                    unsafe { libc::_exit(0) }
                }
                Side::Parent(child) => {
                    assert!(child.cast_unsigned() != own);
                    drop(writer);
                    let mut told = [0; 4];
                    reader.read_exact(&mut told).unwrap();
                    assert_eq!(u32::from_le_bytes(told), child.cast_unsigned());
                }
            }
        }
    }

    #[test]
    fn a_refusal_is_told_and_nothing_is_forked() {
        for memory in [Memory::Borrowed, Memory::Copied] {
            let mut join = || Err(io::Error::from_raw_os_error(libc::EACCES));
            // SAFETY: there is no child.
            let error = unsafe { fork_elsewhere(memory, &mut join) }.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        }
    }
}
