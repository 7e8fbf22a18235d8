//! The content-addressed store: file contents in sealed, append-only segments.
//!
//! `segments` says what is asked of the place of segments, which for `local` is a folder. `segment` is the form
//! of one, which `pack` and `append` write and `read` and `verify` read.

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

/// Where an object's content is: a range of a segment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The segment.
    pub segment: SegmentId,
    /// Where it begins in the segment's content, in bytes.
    pub position: u64,
    /// Its size in bytes.
    pub size: u64,
}

impl Location {
    /// Where it ends in the segment's content; of what cannot be, at the end of numbers.
    pub fn end(&self) -> u64 {
        self.position.saturating_add(self.size)
    }
}

/// No segment has this number: where what is quarantined is said to be.
pub const NOWHERE: SegmentId = 0;

/// Why the store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A segment is not what was written.
    #[error("segment {segment} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The segment.
        segment: SegmentId,
        /// Where in its file.
        offset: u64,
        /// How it was noticed.
        reason: String,
    },
}

impl StoreError {
    pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> Self + use<'_> {
        move |error| Self::File { path: path.to_owned(), error }
    }
}
