//! Writing a segment: append, sync, seal by rename.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::segment::{HEADER_BYTES, header};
use super::{StoreError, segment_path};
use crate::id::SegmentId;

/// A segment that is being written. Its file goes where it is dropped unsealed.
#[derive(Debug)]
pub struct Appender {
    id: SegmentId,
    segments: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
    sealed: bool,
}

impl Appender {
    /// Begins segment `id` in the folder `segments`.
    pub fn begin(segments: &Path, id: SegmentId) -> Result<Self, StoreError> {
        let path = segments.join(format!("{id}.new"));
        let mut file =
            BufWriter::with_capacity(1 << 20, File::create(&path).map_err(StoreError::at(&path))?);
        file.write_all(&header()).map_err(StoreError::at(&path))?;
        let length = HEADER_BYTES as u64;
        Ok(Self { id, segments: segments.to_owned(), path, file, length, sealed: false })
    }

    /// Its number.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Appends an object's frames; the offset of the first.
    pub fn append(&mut self, frames: &[Vec<u8>]) -> Result<u64, StoreError> {
        let offset = self.length;
        for frame in frames {
            self.file.write_all(frame).map_err(StoreError::at(&self.path))?;
            self.length += frame.len() as u64;
        }
        Ok(offset)
    }

    /// Makes it durable and gives it its final name; its length in bytes.
    pub fn seal(mut self) -> Result<u64, StoreError> {
        let at = StoreError::at(&self.path);
        self.file.flush().map_err(&at)?;
        self.file.get_ref().sync_all().map_err(&at)?;
        fs::rename(&self.path, segment_path(&self.segments, self.id)).map_err(&at)?;
        let folder = File::open(&self.segments).map_err(StoreError::at(&self.segments))?;
        folder.sync_all().map_err(StoreError::at(&self.segments))?;
        drop(at);
        self.sealed = true;
        Ok(self.length)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        if !self.sealed {
            let _ = fs::remove_file(&self.path);
        }
    }
}
