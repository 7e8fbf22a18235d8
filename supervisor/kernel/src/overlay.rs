//! Folders that lie on each other, read-only, as a detached mount.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::filesystem::Context;
use crate::mount::Access;

/// Makes an overlay of folders, the uppermost first, of which there must be two at least. Lists of
/// mounts show `source` as where it comes from.
///
/// Nothing in it can be changed, set-uid bits mean nothing, nor device nodes unless `access` says so, and
/// reading changes no time. Errors if the kernel has none.
pub fn mount(source: &str, layers: &[BorrowedFd<'_>], access: Access) -> io::Result<OwnedFd> {
    let context = Context::new(c"overlay")?;
    context.set(c"source", source)?;
    let layers: Vec<_> =
        layers.iter().map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd())).collect();
    context.set(c"lowerdir", &layers.join(":"))?;
    context.flag(c"ro")?;
    context.make(access.attributes() | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOATIME)
}

/// Forgets what the overlay at `path` has found in its folders: it believes that nothing changes there. What
/// is open or mounted on stays as it is.
pub fn refresh(path: &Path) -> io::Result<()> {
    let context = Context::of(c"overlay", path)?;
    // The kernel takes the reconfigured one for writable otherwise, and refuses.
    context.flag(c"ro")?;
    context.change()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;

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
