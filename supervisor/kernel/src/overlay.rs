//! Folders that lie on each other, read-only, as a detached mount.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
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

/// Makes an overlay of folders, the uppermost first, of which there must be two at least. Lists of
/// mounts show `source` as where it comes from.
///
/// Nothing in it can be changed, set-uid bits mean nothing, nor device nodes unless `access` says so, and
/// reading changes no time. Errors where the kernel has none.
pub fn mount(source: &str, layers: &[BorrowedFd<'_>], access: Access) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string that lives through the call.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), FSOPEN_CLOEXEC) };
    let context = owned(context).map_err(at("fsopen"))?;
    let source = CString::new(source).map_err(io::Error::other)?;
    set(context.as_fd(), c"source", &source).map_err(at("source"))?;
    let layers: Vec<_> =
        layers.iter().map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd())).collect();
    let layers = CString::new(layers.join(":")).map_err(io::Error::other)?;
    set(context.as_fd(), c"lowerdir", &layers).map_err(at("lowerdir"))?;
    configure(context.as_fd(), FSCONFIG_SET_FLAG, Some(c"ro"), None).map_err(at("ro"))?;
    configure(context.as_fd(), FSCONFIG_CMD_CREATE, None, None).map_err(at("creating"))?;
    let attributes = access.attributes() | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOATIME;
    // SAFETY: the call takes a descriptor, which is open, and numbers.
    let tree = unsafe {
        libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes)
    };
    owned(tree).map_err(at("fsmount"))
}

/// Forgets what the overlay at `path` has found in its folders: it believes that nothing changes there. What
/// is open or mounted on stays as it is.
pub fn refresh(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path is a C string that lives through the call.
    let context =
        unsafe { libc::syscall(libc::SYS_fspick, libc::AT_FDCWD, path.as_ptr(), FSPICK_CLOEXEC) };
    let context = owned(context).map_err(at("fspick"))?;
    // The kernel takes the reconfigured one for writable otherwise, and refuses.
    configure(context.as_fd(), FSCONFIG_SET_FLAG, Some(c"ro"), None).map_err(at("ro"))?;
    configure(context.as_fd(), FSCONFIG_CMD_RECONFIGURE, None, None).map_err(at("reconfiguring"))
}

fn set(context: BorrowedFd<'_>, key: &CStr, value: &CStr) -> io::Result<()> {
    configure(context, FSCONFIG_SET_STRING, Some(key), Some(value))
}

fn configure(
    context: BorrowedFd<'_>,
    command: u32,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: key and value are C strings that live through the call, or null where the command
    // takes none.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            pointer(key),
            pointer(value),
            0,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn at(step: &'static str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("an overlay: {step}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    use crate::mount::{attach, elsewhere, own_namespace};

    #[test]
    fn what_changes_below_is_seen_after_a_refresh_and_files_are_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["below", "empty", "over"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("below/old"), "old").unwrap();
        elsewhere(|| {
            own_namespace()?;
            let layers = ["below", "empty"].map(|name| File::open(path(name)).unwrap());
            let layers = layers.each_ref().map(AsFd::as_fd);
            attach(mount("test", &layers, Access::ReadOnly)?.as_fd(), &path("over"))?;
            assert_eq!(fs::read_to_string(path("over/old"))?, "old");
            assert!(fs::metadata(path("over/new")).is_err());
            fs::write(path("below/new"), "new")?;
            fs::write(path("below/.old"), "newer")?;
            fs::rename(path("below/.old"), path("below/old"))?;
            refresh(&path("over"))?;
            assert_eq!(fs::read_to_string(path("over/old"))?, "newer");
            assert_eq!(fs::read_to_string(path("over/new"))?, "new");
            let (over, below) = (File::open(path("over/old"))?, File::open(path("below/old"))?);
            over.try_lock().unwrap();
            below.try_lock().unwrap();
            Ok(())
        })
        .unwrap();
    }
}
