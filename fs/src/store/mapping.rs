//! Files that are sealed, as memory.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::{Mmap, UncheckedAdvice};

use super::StoreError;

/// A sealed file's content.
#[derive(Debug)]
pub struct Mapping(Mmap);

impl Mapping {
    /// Maps a sealed file: one that nobody writes to or truncates as long as it exists.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::at(path))?;
        // SAFETY: sealed files are written by us alone, before they get their final name, and are
        // in a folder that only root can write to; removing one leaves its pages valid.
        let map = unsafe { Mmap::map(&file) }.map_err(StoreError::at(path))?;
        Ok(Self(map))
    }

    /// Gives back the memory of what was looked at; it is read again when it is needed again.
    pub fn forget(&self) -> io::Result<()> {
        // SAFETY: the mapping is shared and read-only, so its pages are the file's and come back as
        // they were.
        unsafe { self.0.unchecked_advise(UncheckedAdvice::DontNeed) }
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
