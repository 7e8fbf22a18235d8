//! Writing a segment: frames, then their directory.

use std::path::PathBuf;

use super::StoreError;
use super::segment::{Directory, header};
use super::segments::{SegmentSink, Segments};
use crate::id::{Digest, SegmentId};

/// A segment that is being written. All of it goes if it is dropped unsealed.
#[derive(Debug)]
pub struct Appender {
    id: SegmentId,
    sink: Box<dyn SegmentSink>,
    /// The segment in messages.
    path: PathBuf,
    lengths: Vec<u32>,
    hasher: blake3::Hasher,
}

impl Appender {
    /// Begins a segment.
    pub fn begin(segments: &dyn Segments, id: SegmentId) -> Result<Self, StoreError> {
        let (sink, path) = (segments.begin(id)?, segments.path(id));
        let mut appender =
            Self { id, sink, path, lengths: Vec::new(), hasher: blake3::Hasher::new() };
        appender.write(&header())?;
        Ok(appender)
    }

    /// The segment's number.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Appends the next frame of the content.
    pub fn append(&mut self, frame: &[u8]) -> Result<(), StoreError> {
        self.write(frame)?;
        self.lengths.push(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Seals the segment: it is durable, and can be opened. `content` is the bytes of content of all
    /// frames. Returns the segment's length in bytes and its digest.
    pub fn seal(mut self, content: u64) -> Result<(u64, Digest), StoreError> {
        let directory = Directory::new(content, &self.lengths).encode();
        self.write(&directory)?;
        let digest = Digest(*self.hasher.finalize().as_bytes());
        Ok((self.sink.seal()?, digest))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.sink.write_all(bytes).map_err(StoreError::at(&self.path))
    }
}
