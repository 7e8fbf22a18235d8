//! Mounts as descriptors: taken in one mount namespace, attached in another.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Access that a mount gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing can be changed; set-uid bits and device nodes mean nothing.
    ReadOnly,
    /// Variant of [`Access::ReadOnly`] in which device nodes work: for the root that has `/dev`.
    ReadOnlyWithDevices,
    /// Files can be changed; set-uid bits and device nodes mean nothing.
    ReadWrite,
}

impl Access {
    pub(crate) fn attributes(self) -> u64 {
        match self {
            Self::ReadOnly => {
                libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV
            }
            Self::ReadOnlyWithDevices => libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID,
            Self::ReadWrite => libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        }
    }
}

/// Takes a copy of the mount at a path, attached nowhere yet.
pub fn take(path: &Path, access: Access) -> io::Result<OwnedFd> {
    take_from(libc::AT_FDCWD, &c_path(path)?, 0, access)
}

/// Takes a copy of the mount that an open folder is in, from that folder down.
pub fn take_open(folder: BorrowedFd<'_>, access: Access) -> io::Result<OwnedFd> {
    take_from(folder.as_raw_fd(), c"", libc::AT_EMPTY_PATH, access)
}

/// Takes a copy of the mount that an open folder is in, from a folder below that down.
pub fn take_below(folder: BorrowedFd<'_>, path: &Path, access: Access) -> io::Result<OwnedFd> {
    take_from(folder.as_raw_fd(), &c_path(path)?, 0, access)
}

fn take_from(at: RawFd, path: &CStr, flags: i32, access: Access) -> io::Result<OwnedFd> {
    let flags = flags.cast_unsigned() | libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is a C string that lives through the call.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, at, path.as_ptr(), flags) };
    let tree = owned(tree)?;
    restrict_at(tree.as_raw_fd(), c"", libc::AT_EMPTY_PATH, access)?;
    Ok(tree)
}

/// Forbids on the mount at `path` what `access` says.
pub fn restrict(path: &Path, access: Access) -> io::Result<()> {
    restrict_at(libc::AT_FDCWD, &c_path(path)?, 0, access)
}

fn restrict_at(at: RawFd, path: &CStr, flags: i32, access: Access) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: access.attributes(),
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: path and attributes live through the call, and the size is that of the structure.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at,
            path.as_ptr(),
            flags,
            std::ptr::from_ref(&attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Attaches a mount that [`take`] and the like took at a path of this mount namespace.
pub fn attach(tree: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    move_to(tree, libc::AT_FDCWD, &c_path(path)?, 0)
}

/// Gives the calling thread a mount namespace of its own, and makes that private.
pub fn own_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    make_private()
}

/// Has nothing that is mounted from now on in this mount namespace seen in others, nor the other way.
pub fn make_private() -> io::Result<()> {
    let none = None::<&str>;
    Ok(mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?)
}

/// Does something in another mount namespace, where paths mean what they mean there: that of the
/// process behind a pidfd, or the one that a file of `/proc/PID/ns/mnt` stands for. Blocks.
pub fn visit<T: Send>(
    there: BorrowedFd<'_>,
    act: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    elsewhere(|| {
        setns(there, CloneFlags::CLONE_NEWNS)?;
        act()
    })
}

/// Does something in a thread of its own, which ends with it, and which may have another mount
/// namespace, root and working directory than the process. Blocks.
pub fn elsewhere<T: Send>(act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let act = || {
        // Root and working directory are the whole process's else.
        unshare(CloneFlags::CLONE_FS)?;
        act()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, act)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the visiting thread panicked")))
    })
}

/// Attaches a mount as [`attach`] does, at a path that no symbolic link is part of.
pub fn attach_plainly(tree: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let place = openat2(nix::fcntl::AT_FDCWD, path, how)?;
    move_to(tree, place.as_raw_fd(), c"", libc::MOVE_MOUNT_T_EMPTY_PATH)
}

/// Changes the most that a tmpfs may hold, in bytes.
pub fn resize_tmpfs(path: &Path, bytes: u64) -> io::Result<()> {
    let (none, size) = (None::<&str>, format!("size={bytes}"));
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(none, path, none, flags, Some(size.as_str()))?)
}

fn move_to(tree: BorrowedFd<'_>, at: RawFd, path: &CStr, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: both paths are C strings that live through the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            at,
            path.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH | flags,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Unmounts all that lies on each other at a path, also if it is in use; does nothing if there is nothing.
pub fn detach_all(path: &Path) -> io::Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            // It is no mount, or there is nothing.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The descriptor that a system call has made.
pub(crate) fn owned(answer: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(answer) {
        // SAFETY: the kernel made this descriptor for this call; nobody else has it.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(crate) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
