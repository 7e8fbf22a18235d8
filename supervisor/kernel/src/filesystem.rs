//! File systems that are made and changed by descriptors, without a place in any list of mounts.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

use crate::mount::{Access, c_path, owned};

/// Values of the kernel's `linux/mount.h` that the C library's headers lack.
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSPICK_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;

/// A file system that is being made, or changed. Errors name the step, and what kind of file system it was.
#[derive(Debug)]
pub(crate) struct Context {
    kind: &'static CStr,
    descriptor: OwnedFd,
}

impl Context {
    /// One of the `kind` that `/proc/filesystems` calls so.
    pub(crate) fn new(kind: &'static CStr) -> io::Result<Self> {
        // SAFETY: the name is a C string that lives through the call.
        let context = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) };
        let descriptor = owned(context).map_err(|error| told(kind, c"fsopen", &error))?;
        Ok(Self { kind, descriptor })
    }

    /// The one of the `kind` that is mounted at a path.
    pub(crate) fn of(kind: &'static CStr, path: &Path) -> io::Result<Self> {
        let path = c_path(path)?;
        // SAFETY: the path is a C string that lives through the call.
        let context = unsafe {
            libc::syscall(libc::SYS_fspick, libc::AT_FDCWD, path.as_ptr(), FSPICK_CLOEXEC)
        };
        let descriptor = owned(context).map_err(|error| told(kind, c"fspick", &error))?;
        Ok(Self { kind, descriptor })
    }

    /// Sets a parameter to a value.
    pub(crate) fn set(&self, key: &CStr, value: &str) -> io::Result<()> {
        let value = CString::new(value).map_err(io::Error::other)?;
        self.configure(FSCONFIG_SET_STRING, key, Some(key), Some(&value))
    }

    /// Sets a parameter that has no value.
    pub(crate) fn flag(&self, key: &CStr) -> io::Result<()> {
        self.configure(FSCONFIG_SET_FLAG, key, Some(key), None)
    }

    /// Makes it, with what was set; its root as a mount that is attached nowhere, and forbids what
    /// `attributes` says (`MOUNT_ATTR_…`). Every mount namespace may copy that one and attach the copies.
    pub(crate) fn make(self, attributes: u64) -> io::Result<OwnedFd> {
        self.configure(FSCONFIG_CMD_CREATE, c"creating", None, None)?;
        let context = self.descriptor.as_raw_fd();
        // SAFETY: the call takes a descriptor, which is open, and numbers.
        let tree =
            unsafe { libc::syscall(libc::SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes) };
        owned(tree).map_err(|error| told(self.kind, c"fsmount", &error))
    }

    /// Changes it to what was set.
    pub(crate) fn change(self) -> io::Result<()> {
        self.configure(FSCONFIG_CMD_RECONFIGURE, c"reconfiguring", None, None)
    }

    fn configure(
        &self,
        command: u32,
        step: &CStr,
        key: Option<&CStr>,
        value: Option<&CStr>,
    ) -> io::Result<()> {
        let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: key and value are C strings that live through the call, or null where the command
        // takes none.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.descriptor.as_raw_fd(),
                command,
                pointer(key),
                pointer(value),
                0,
            )
        };
        if answer < 0 {
            return Err(told(self.kind, step, &io::Error::last_os_error()));
        }
        Ok(())
    }
}

/// A file system in memory of at most `bytes` bytes, whose root is root's alone: a mount that is attached
/// nowhere, and gone with its last copy. Set-uid bits and device nodes mean nothing in it.
pub fn in_memory(source: &str, bytes: u64) -> io::Result<OwnedFd> {
    let context = Context::new(c"tmpfs")?;
    context.set(c"source", source)?;
    context.set(c"mode", "700")?;
    context.set(c"size", &bytes.to_string())?;
    context.make(Access::ReadWrite.attributes())
}

fn told(kind: &CStr, step: &CStr, error: &io::Error) -> io::Error {
    let [kind, step] = [kind, step].map(CStr::to_string_lossy);
    io::Error::new(error.kind(), format!("{kind}: {step}: {error}"))
}
