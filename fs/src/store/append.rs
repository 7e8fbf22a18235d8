//! Writing a segment: append, sync, seal by rename.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::segment::{Directory, header};
use super::{StoreError, segment_path};
use crate::durable::crash;
use crate::id::SegmentId;

/// A segment that is being written. Its file goes where it is dropped unsealed.
#[derive(Debug)]
pub struct Appender {
    id: SegmentId,
    segments: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
    lengths: Vec<u32>,
    sealed: bool,
}

impl Appender {
    /// Begins segment `id` in the folder `segments`.
    pub fn begin(segments: &Path, id: SegmentId) -> Result<Self, StoreError> {
        let path = segments.join(format!("{id}.new"));
        let mut file =
            BufWriter::with_capacity(1 << 20, File::create(&path).map_err(StoreError::at(&path))?);
        file.write_all(&header()).map_err(StoreError::at(&path))?;
        let segments = segments.to_owned();
        Ok(Self { id, segments, path, file, lengths: Vec::new(), sealed: false })
    }

    /// Its number.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Appends the next frame of the content.
    pub fn append(&mut self, frame: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(frame).map_err(StoreError::at(&self.path))?;
        self.lengths.push(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Makes it durable and gives it its final name. `content` is the bytes of content of all its
    /// frames. Returns the file's length in bytes.
    pub fn seal(mut self, content: u64) -> Result<u64, StoreError> {
        let at = StoreError::at(&self.path);
        let directory = Directory::new(content, &self.lengths).encode();
        self.file.write_all(&directory).map_err(&at)?;
        self.file.flush().map_err(&at)?;
        self.file.get_ref().sync_all().map_err(&at)?;
        let length = self.file.get_ref().metadata().map_err(&at)?.len();
        crash::point();
        fs::rename(&self.path, segment_path(&self.segments, self.id)).map_err(&at)?;
        let folder = File::open(&self.segments).map_err(StoreError::at(&self.segments))?;
        folder.sync_all().map_err(StoreError::at(&self.segments))?;
        drop(at);
        self.sealed = true;
        crash::point();
        Ok(length)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        if !self.sealed {
            let _ = fs::remove_file(&self.path);
        }
    }
}
