//! The share of a disk that unpacking may fill.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::statvfs::statvfs;

use crate::ingest::AddError;
use crate::ingest::confine::ConfineError;

/// The free space that unpacking may take. Half of it: what is unpacked is stored once more, and the
/// machine has other uses for its disk.
#[derive(Debug)]
pub struct Room {
    folder: PathBuf,
    left: AtomicU64,
}

impl Room {
    /// The room there is in a folder.
    pub fn of(folder: &Path) -> Result<Self, AddError> {
        let told = statvfs(folder).map_err(|errno| AddError::at(folder)(errno.into()))?;
        let free = told.blocks_available() * told.fragment_size();
        Ok(Self { folder: folder.to_owned(), left: AtomicU64::new(free / 2) })
    }

    /// Room for so many bytes, whatever is free.
    #[cfg(test)]
    pub fn with(folder: &Path, bytes: u64) -> Self {
        Self { folder: folder.to_owned(), left: AtomicU64::new(bytes) }
    }

    /// Takes so much of it for the distribution `name`.
    pub fn take(&self, name: &str, bytes: u64) -> Result<(), AddError> {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(|_| ()).map_err(|_| {
            let (label, folder) = (format!("unpacking {name}"), self.folder.clone());
            AddError::Confine(ConfineError::Space { label, folder })
        })
    }
}
