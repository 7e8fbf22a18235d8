//! The content-addressed store: file contents in sealed, append-only segments.
//!
//! `segments` says what is asked of the place of segments, and `local` is a folder of them. `segment` is the
//! form of a segment. `pack` and `append` write one, `sealed` opens it, `verify` checks it. `read` reads
//! objects, by way of `frame_cache` and `readahead`.

pub mod append;
pub mod buffers;
#[cfg(test)]
pub mod faulty;
mod frame_cache;
pub mod local;
pub mod mapping;
pub mod pack;
pub mod read;
mod readahead;
pub mod sealed;
pub mod segment;
pub mod segments;
pub mod verify;

use std::io;
use std::path::{Path, PathBuf};

use crate::id::SegmentId;

/// Location of an object's content: a range of a segment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The segment.
    pub segment: SegmentId,
    /// Beginning in the segment's content, in bytes.
    pub position: u64,
    /// Size in bytes.
    pub size: u64,
}

impl Location {
    /// End in the segment's content; of what cannot be, the end of numbers.
    pub fn end(&self) -> u64 {
        self.position.saturating_add(self.size)
    }
}

/// No segment has this number: where what is quarantined is said to be.
pub const NOWHERE: SegmentId = 0;

/// Reason why the store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A segment is not what was written.
    #[error("segment {segment} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The segment.
        segment: SegmentId,
        /// Offset in its file.
        offset: u64,
        /// Sign by which the damage was noticed.
        reason: String,
    },
}

impl StoreError {
    pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> Self + use<'_> {
        move |source| Self::File { path: path.to_owned(), source }
    }
}
