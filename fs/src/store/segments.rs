//! The place of segments, whatever that is: a folder of this machine today.

use std::collections::HashSet;
use std::fmt::Debug;
use std::io::{self, Write};
use std::path::PathBuf;

use super::StoreError;
use crate::id::SegmentId;

/// The segments of a store.
pub trait Segments: Debug + Send + Sync {
    /// Begins a segment, of which nothing is seen until it is sealed.
    fn begin(&self, id: SegmentId) -> Result<Box<dyn SegmentSink>, StoreError>;

    /// Opens a sealed segment.
    fn open(&self, id: SegmentId) -> Result<Box<dyn SegmentSource>, StoreError>;

    /// Returns the length of a sealed segment in bytes; `None` if it is not there.
    fn length(&self, id: SegmentId) -> Option<u64>;

    /// Removes sealed segments, those that are there; durable when it returns.
    fn remove(&self, ids: &[SegmentId]) -> Result<(), StoreError>;

    /// Removes segments that were never sealed, and sealed ones that are not among `known`.
    fn clear(&self, known: &HashSet<SegmentId>) -> Result<(), StoreError>;

    /// Lists all that is there, sealed segments and whatever else.
    fn list(&self) -> Result<Vec<Listed>, StoreError>;

    /// Names a sealed segment for messages.
    fn path(&self, id: SegmentId) -> PathBuf;

    /// Names the place of all segments for messages.
    fn root(&self) -> PathBuf;
}

/// A segment that is being written. All of it goes if it is dropped unsealed.
pub trait SegmentSink: Debug + Write + Send {
    /// Makes the segment durable and lets it be opened; its length in bytes.
    fn seal(self: Box<Self>) -> Result<u64, StoreError>;
}

/// The bytes of a sealed segment.
pub trait SegmentSource: Debug + Send + Sync {
    /// Returns the length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Fills a part from an offset on.
    fn read_exact_at(&self, part: &mut [u8], offset: u64) -> io::Result<()>;

    /// Tells of a range of bytes when it will be read, or has been. Advice costs time alone.
    fn advise(&self, offset: u64, bytes: u64, advice: Advice);
}

/// Advice about a range of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The range is read next.
    WillRead,
    /// The range is not read again soon: nothing of it need be cached.
    HasRead,
}

/// Something in the place of segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name for messages.
    pub path: PathBuf,
    /// Number, if it is a sealed segment.
    pub segment: Option<SegmentId>,
    /// Length in bytes.
    pub bytes: u64,
}
