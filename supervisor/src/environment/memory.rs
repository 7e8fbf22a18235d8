//! A file system in memory for wheels that are being unpacked, which no list of mounts shows and which is
//! gone with the supervisor, however that ends.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use pipsqueak_kernel::mount::{self as tree, Access};

use crate::kernel::pressure;

/// Parts of the machine's memory of which it may have one.
const PARTS: u64 = 4;

/// The root of one, and its size in bytes. Errors before Linux 6.15, which has folders of mounts that are
/// attached nowhere seen in no sandbox. Blocks.
pub fn in_memory() -> io::Result<(OwnedFd, u64)> {
    let size = pressure::machine()?.size / PARTS;
    let root = tree::elsewhere(|| {
        tree::own_namespace()?;
        // Any folder will do, and this one is there.
        let (place, options) = ("/proc", format!("mode=700,size={size}"));
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("pipsqueak"), place, Some("tmpfs"), flags, Some(&*options))?;
        tree::take(place.as_ref(), Access::ReadWrite)
    })?;
    // As jobs are given folders in it.
    tree::take(&PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd())), Access::ReadOnly)?;
    Ok((root, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_in_memory_are_linked_and_shown_elsewhere() {
        // Without privileges, or on an older kernel, there is none.
        let Ok((root, size)) = in_memory() else { return };
        let folder = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        fs::create_dir(folder.join("a")).unwrap();
        fs::write(folder.join("a/b"), "content").unwrap();
        fs::hard_link(folder.join("a/b"), folder.join("c")).unwrap();
        let shown = tree::take(&folder.join("a"), Access::ReadOnly).unwrap();
        let shown = PathBuf::from(format!("/proc/self/fd/{}", shown.as_raw_fd()));
        assert_eq!(fs::read(shown.join("b")).unwrap(), b"content");
        assert!(fs::write(shown.join("d"), "").is_err() && size > 0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.lines().any(|line| line.starts_with("pipsqueak /proc tmpfs")));
    }
}
