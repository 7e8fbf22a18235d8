//! A sealed segment, open: its frames by number.
//!
//! By reads at offsets: a segment that cannot be read or has been cut is an error to one reader, where a
//! mapping would end the process for all of them.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::segment::{self, Directory, FOOTER_BYTES, FRAME_BYTES, HEADER_BYTES};
use super::segments::{Advice, SegmentSource, Segments};
use super::{Location, StoreError};
use crate::id::SegmentId;

/// A sealed segment, open.
#[derive(Debug)]
pub struct Segment {
    id: SegmentId,
    path: PathBuf,
    source: Box<dyn SegmentSource>,
    directory: Directory,
}

impl Segment {
    /// Opens a segment and checks its directory.
    pub fn open(segments: &dyn Segments, id: SegmentId) -> Result<Self, StoreError> {
        let path = segments.path(id);
        let at = StoreError::at(&path);
        let damaged = |offset, reason: &str| StoreError::Damaged {
            segment: id,
            offset,
            reason: reason.to_owned(),
        };
        let source = segments.open(id)?;
        let length = source.length().map_err(&at)?;
        let least = (HEADER_BYTES + FOOTER_BYTES) as u64;
        if length < least {
            return Err(damaged(0, "it is too short to be a segment"));
        }
        let mut header = [0; HEADER_BYTES];
        source.read_exact_at(&mut header, 0).map_err(&at)?;
        if !segment::has_header(&header) {
            return Err(damaged(0, "it does not begin as a segment does"));
        }
        let mut footer = [0; FOOTER_BYTES];
        source.read_exact_at(&mut footer, length - FOOTER_BYTES as u64).map_err(&at)?;
        let whole = Directory::length(&footer).filter(|whole| *whole <= length);
        let whole = whole.ok_or_else(|| damaged(length, "its parts do not add up"))?;
        let mut bytes = vec![0; usize::try_from(whole).unwrap_or(usize::MAX)];
        source.read_exact_at(&mut bytes, length - whole).map_err(&at)?;
        let directory =
            Directory::decode(&bytes, length).map_err(|reason| damaged(length - whole, reason))?;
        drop(at);
        Ok(Self { id, path, source, directory })
    }

    /// The segment's number.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// The directory of its frames.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Reads a frame and decodes it to the end of `content`.
    pub fn frame(&self, number: u32, content: &mut Vec<u8>) -> Result<(), StoreError> {
        thread_local! {
            /// Buffer of the thread, with whatever was read last.
            static COMPRESSED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let damaged = |offset, reason| StoreError::Damaged { segment: self.id, offset, reason };
        let (offset, length) = self
            .directory
            .frame(number)
            .ok_or_else(|| damaged(0, format!("it has no frame {number}")))?;
        COMPRESSED.with_borrow_mut(|frame| {
            if frame.len() < length {
                frame.resize(length, 0);
            }
            let frame = &mut frame[..length];
            self.source.read_exact_at(frame, offset).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    damaged(offset, "the file ends before its frame".to_owned())
                }
                _ => StoreError::at(&self.path)(error),
            })?;
            segment::decode_frame(frame, self.directory.frame_content(number), content)
                .map_err(|reason| damaged(offset, reason))
        })
    }

    /// All of an object's content.
    pub fn content(&self, location: Location) -> Result<Vec<u8>, StoreError> {
        let Location { position, size, .. } = location;
        let frame =
            |position: u64| u32::try_from(position / FRAME_BYTES as u64).unwrap_or(u32::MAX);
        let mut content = Vec::new();
        for number in frame(position)..=frame(location.end().saturating_sub(1)) {
            self.frame(number, &mut content)?;
        }
        let from = usize::try_from(position % FRAME_BYTES as u64).unwrap_or(usize::MAX);
        let to = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(from);
        let found = content.get(from..to).map(<[u8]>::to_vec);
        let reason = "it ends before an object does".to_owned();
        found.ok_or(StoreError::Damaged { segment: self.id, offset: position, reason })
    }

    /// Advises the system about some frames.
    pub fn advise(&self, frames: &Range<u32>, advice: Advice) {
        let from = self.directory.frame(frames.start).map(|(offset, _)| offset);
        let to = frames.end.checked_sub(1).and_then(|last| self.directory.frame(last));
        if let (Some(from), Some((last, length))) = (from, to) {
            self.source.advise(from, last + length as u64 - from, advice);
        }
    }
}
