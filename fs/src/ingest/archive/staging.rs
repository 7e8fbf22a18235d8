//! The folders in which wheels are unpacked, for as long as an addition needs them: in memory as far as
//! there is room, otherwise on the disk.
//!
//! A file system on a disk takes longer to make and to remove thousands of small files than a processor
//! to inflate and to digest them.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tempfile::TempDir;

use crate::ingest::AddError;
use crate::ingest::archive::room::Room;

/// Parts of memory of which wheels may take one: bytecode is about as large as they are, and of what is
/// then left a job may take half.
const PARTS: u64 = 3;

/// A file system in memory, which all additions share.
#[derive(Debug)]
pub struct Memory {
    root: OwnedFd,
    size: u64,
    left: AtomicU64,
}

/// A folder in it, of one addition; gone when dropped.
#[derive(Debug)]
pub struct Borrowed {
    memory: Arc<Memory>,
    folder: Option<TempDir>,
    taken: AtomicU64,
}

impl Memory {
    /// The file system below the folder `root`, of `size` bytes.
    pub fn new(root: OwnedFd, size: u64) -> Self {
        Self { root, size, left: AtomicU64::new(size / PARTS) }
    }

    /// A folder for one addition. None if others need the memory more.
    pub fn borrow(self: &Arc<Self>) -> Option<Borrowed> {
        let root = PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd()));
        let made = || -> io::Result<TempDir> {
            let folder = tempfile::tempdir_in(&root)?;
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
            Ok(folder)
        };
        if available().is_none_or(|available| available < self.size) {
            return None;
        }
        match made() {
            Ok(folder) => {
                let (memory, folder) = (self.clone(), Some(folder));
                Some(Borrowed { memory, folder, taken: AtomicU64::new(0) })
            }
            Err(error) => {
                tracing::warn!(%error, "wheels are unpacked on the disk, not in memory");
                None
            }
        }
    }
}

impl Borrowed {
    fn path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), TempDir::path)
    }

    /// Takes room for so many bytes, if there is as much.
    fn take(&self, bytes: u64) -> bool {
        let less = |left: u64| left.checked_sub(bytes);
        let is_there =
            self.memory.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if is_there {
            self.taken.fetch_add(bytes, Ordering::Relaxed);
        }
        is_there
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        drop(self.folder.take());
        self.memory.left.fetch_add(self.taken.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Bytes of memory that can be had without taking them from others.
fn available() -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The folders of one addition.
#[derive(Debug)]
pub struct Staging<'a> {
    disk: &'a Path,
    room: Room,
    memory: Option<&'a Borrowed>,
    /// True if something lies on the disk.
    is_on_disk: AtomicBool,
}

impl<'a> Staging<'a> {
    /// The empty folder `disk`, and what was borrowed of memory.
    pub fn of(disk: &'a Path, memory: Option<&'a Borrowed>) -> Result<Self, AddError> {
        Ok(Self { disk, room: Room::of(disk)?, memory, is_on_disk: AtomicBool::new(false) })
    }

    /// The folder for `bytes` of the distribution `name`. The disk must have room for them wherever it is, as
    /// they are stored there.
    pub fn take(&self, name: &str, bytes: u64) -> Result<&Path, AddError> {
        self.room.take(name, bytes)?;
        if let Some(memory) = self.memory
            && memory.take(bytes)
        {
            return Ok(memory.path());
        }
        self.is_on_disk.store(true, Ordering::Relaxed);
        Ok(self.disk)
    }

    /// The place of the environment of all of them: beside them, if all lie in memory.
    pub fn merged(&self) -> PathBuf {
        let in_memory = self.memory.filter(|_| !self.is_on_disk.load(Ordering::Relaxed));
        in_memory.map_or(self.disk, Borrowed::path).join("merged")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn what_memory_has_no_room_for_lies_on_the_disk() {
        let (disk, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let memory = || File::open(other.path()).unwrap().into();
        let memory = Arc::new(Memory::new(memory(), 300));
        let borrowed = memory.borrow().unwrap();
        let staging = Staging::of(disk.path(), Some(&borrowed)).unwrap();
        assert_eq!(staging.take("a", 60).unwrap(), borrowed.path());
        assert!(staging.merged().starts_with(borrowed.path()));
        assert_eq!(staging.take("b", 60).unwrap(), disk.path());
        assert_eq!(staging.take("c", 40).unwrap(), borrowed.path());
        assert!(staging.merged().starts_with(disk.path()));
        assert!(staging.take("d", u64::MAX).is_err());
        assert_eq!(memory.left.load(Ordering::Relaxed), 0);
        drop(borrowed);
        assert_eq!(memory.left.load(Ordering::Relaxed), 100);
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
        // Machines have less.
        let huge = Arc::new(Memory::new(File::open(other.path()).unwrap().into(), u64::MAX));
        assert!(huge.borrow().is_none());
    }
}
