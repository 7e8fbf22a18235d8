//! Placing descriptors where a new process expects them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Checks that a number is an open descriptor, and borrows it.
///
/// Errors with `EBADF` if it is not. The caller keeps it open as long as it is used.
pub fn borrowed(number: RawFd) -> io::Result<BorrowedFd<'static>> {
    // SAFETY: F_GETFD only asks for the flags of a number, whatever it is.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open; a number that is closed meanwhile gives EBADF at its next use.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Takes over a descriptor that this process was started with or was sent.
///
/// Errors with `EBADF` if there is none of that number. The caller must not take one twice.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    borrowed(number)?;
    // SAFETY: the number is open, was handed over by the parent for this purpose, and nothing else
    // in this program knows it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    set_close_on_exec(&descriptor, true)?;
    Ok(descriptor)
}

/// Sets or clears the close-on-exec flag.
pub fn set_close_on_exec(descriptor: &OwnedFd, close: bool) -> io::Result<()> {
    let flags = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: F_SETFD takes an int and touches no memory.
    if unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFD, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Device and inode of a descriptor's file.
pub fn file(descriptor: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let found = nix::sys::stat::fstat(descriptor)?;
    Ok((found.st_dev, found.st_ino))
}

/// Makes `number` another name of `descriptor`, inherited by exec.
///
/// Meant for the standard streams, which Rust values do not own.
pub fn replace(number: RawFd, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: dup2 touches no memory; by contract nothing here owns the number.
    if unsafe { libc::dup2(descriptor.as_raw_fd(), number) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes `descriptors` the first descriptors of this process, 0 onwards, inherited by exec, and
/// closes all others but `spared`.
///
/// Meant for just before exec or in a new process: Rust values that own a descriptor are left
/// with a closed or another one, so none may be used or dropped afterwards.
pub fn arrange(descriptors: &[BorrowedFd<'_>], spared: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let first_free =
        i32::try_from(descriptors.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let lifted = descriptors
        .iter()
        .map(|descriptor| {
            // SAFETY: F_DUPFD takes an int and touches no memory.
            match unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD, first_free + 1) } {
                -1 => Err(io::Error::last_os_error()),
                copy => Ok(copy),
            }
        })
        .collect::<io::Result<Vec<RawFd>>>()?;
    let mut kept = None;
    if let Some(spared) = spared {
        // SAFETY: as above.
        let copy =
            unsafe { libc::fcntl(spared.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first_free + 1) };
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        kept = Some(copy);
    }
    for (target, copy) in (0..).zip(&lifted) {
        // SAFETY: dup2 touches no memory; what the target number was is given up by contract.
        if unsafe { libc::dup2(*copy, target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let mut next = first_free;
    if let Some(kept) = kept {
        // SAFETY: as above; dup3 keeps it from crossing exec.
        if unsafe { libc::dup3(kept, first_free, libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        next += 1;
    }
    // SAFETY: close_range touches no memory; the contract says nothing above is used any more.
    if unsafe { libc::close_range(next.cast_unsigned(), u32::MAX, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
