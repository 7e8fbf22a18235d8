//! Disks that are soon full.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::folder;

/// A small file system. Unmounted when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Makes a file system of a size such as `512M`.
    pub fn new(size: &str) -> Self {
        let folder = folder();
        let options = format!("size={size}");
        let flags = MsFlags::empty();
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), flags, Some(options.as_str())).unwrap();
        Self(folder)
    }

    /// The place of the mount.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(self.0.path(), MntFlags::MNT_DETACH).unwrap();
    }
}
