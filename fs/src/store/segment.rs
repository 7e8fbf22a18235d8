//! A segment's form on disk: pure encoding and decoding.
//!
//! ```text
//! offset  bytes  field
//!      0      8  magic "PSQKSEG\0"
//!      8      4  version, little-endian
//!     12      4  zero
//!     16      …  frames: zstd, each decodes on its own and carries a checksum of its content
//!      …     4n  length of each frame, little-endian
//!      …     16  bytes of content (8), number of frames (4), zero (4)
//!      …     32  BLAKE3 of the lengths and the 16 bytes
//! ```
//!
//! A segment's content is one stream, cut every [`FRAME_BYTES`]. An object is a range of the
//! stream, so small ones that are read one after the other share a frame, and a page fault in a
//! large one decodes no more than the frames that it needs.

use std::cell::RefCell;
use std::io::{self, Cursor};

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

/// Content in one frame, in bytes; only a segment's last one has less.
pub const FRAME_BYTES: usize = 128 << 10;
/// Length of a segment's header.
pub const HEADER_BYTES: usize = 16;
/// Length of what follows the frames' lengths.
pub const FOOTER_BYTES: usize = COUNTS_BYTES + 32;
/// zstd's default: the next levels save little on installed packages and take much longer.
const LEVEL: i32 = 3;

const COUNTS_BYTES: usize = 16;
const MAGIC: [u8; 8] = *b"PSQKSEG\0";
const VERSION: u32 = 1;

/// The header of a segment.
pub fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// True if bytes start with the header of a segment that this program reads.
pub fn has_header(bytes: &[u8]) -> bool {
    bytes.get(..HEADER_BYTES) == Some(&header())
}

/// Offsets of a segment's frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Bytes of content.
    content: u64,
    /// Offset of each frame in the file, and where the last one ends.
    offsets: Vec<u64>,
}

impl Directory {
    /// Frames of these lengths, one after the other, of `content` bytes in all.
    pub fn new(content: u64, lengths: &[u32]) -> Self {
        let mut end = HEADER_BYTES as u64;
        let mut offsets = Vec::with_capacity(lengths.len() + 1);
        offsets.push(end);
        for length in lengths {
            end += u64::from(*length);
            offsets.push(end);
        }
        Self { content, offsets }
    }

    /// Encodes the end of a segment.
    pub fn encode(&self) -> Vec<u8> {
        let lengths = self.offsets.windows(2).map(|pair| pair[1] - pair[0]);
        let narrow = |length| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes: Vec<u8> = lengths.flat_map(narrow).collect();
        bytes.extend(self.content.to_le_bytes());
        bytes.extend(self.frames().to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(blake3::hash(&bytes).as_bytes());
        bytes
    }

    /// Bytes before the end of a segment's file where its directory begins, as its last [`FOOTER_BYTES`]
    /// say; `None` if they say nothing.
    pub fn length(footer: &[u8]) -> Option<u64> {
        let count = footer.get(8..12)?.try_into().ok().map(u32::from_le_bytes)?;
        Some(u64::from(count) * 4 + FOOTER_BYTES as u64)
    }

    /// Reads the directory of a segment whose file has `file_length` bytes; the error says how it
    /// is damaged.
    pub fn decode(bytes: &[u8], file_length: u64) -> Result<Self, &'static str> {
        let split = |at: usize| bytes.split_at_checked(bytes.len().checked_sub(at)?);
        let (said, digest) = split(32).ok_or("its directory is too short")?;
        if blake3::hash(said).as_bytes() != digest {
            return Err("the checksum of its directory is wrong");
        }
        let (lengths, counts) = said
            .split_at_checked(said.len().saturating_sub(COUNTS_BYTES))
            .ok_or("its directory is too short")?;
        let (lengths, rest) = lengths.as_chunks::<4>();
        let content = counts.first_chunk::<8>().map_or(0, |content| u64::from_le_bytes(*content));
        let lengths: Vec<u32> = lengths.iter().map(|length| u32::from_le_bytes(*length)).collect();
        let directory = Self::new(content, &lengths);
        let end = directory.offsets.last().copied().unwrap_or(0) + bytes.len() as u64;
        let frames = content.div_ceil(FRAME_BYTES as u64);
        if !rest.is_empty() || end != file_length || frames != u64::from(directory.frames()) {
            return Err("its parts do not add up");
        }
        Ok(directory)
    }

    /// Number of frames.
    pub fn frames(&self) -> u32 {
        u32::try_from(self.offsets.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// Bytes of content of all frames.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// Offset and length of a frame in the file.
    pub fn frame(&self, number: u32) -> Option<(u64, usize)> {
        let from = *self.offsets.get(number as usize)?;
        let to = *self.offsets.get(number as usize + 1)?;
        Some((from, usize::try_from(to - from).ok()?))
    }

    /// Bytes of content of a frame.
    pub fn frame_content(&self, number: u32) -> usize {
        let before = u64::from(number) * FRAME_BYTES as u64;
        let left = self.content.saturating_sub(before);
        usize::try_from(left).map_or(FRAME_BYTES, |left| left.min(FRAME_BYTES))
    }
}

/// Compresses content into frames.
pub struct FrameWriter(Compressor<'static>);

impl FrameWriter {
    /// A writer of frames.
    pub fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self(compressor))
    }

    /// The frame of at most [`FRAME_BYTES`] of content.
    pub fn frame(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(content)
    }
}

/// Decodes one frame of `expected` bytes of content to the end of `content`, which is left as it was
/// where that fails; the error says how the frame is damaged.
pub fn decode_frame(frame: &[u8], expected: usize, content: &mut Vec<u8>) -> Result<(), String> {
    thread_local! {
        /// Decompressor of the thread: making one costs a good part of decoding a frame.
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    let decoded = DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new()?),
        };
        let before = content.len();
        content.reserve(expected);
        let mut end = Cursor::new(std::mem::take(content));
        end.set_position(before as u64);
        let decoded = decompressor.decompress_to_buffer(frame, &mut end);
        *content = end.into_inner();
        if !matches!(decoded, Ok(bytes) if bytes == expected) {
            content.truncate(before);
        }
        decoded
    });
    match decoded.map_err(|error| error.to_string())? {
        bytes if bytes == expected => Ok(()),
        bytes => Err(format!("a frame holds {bytes} bytes where {expected} belong")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn content_comes_back_and_no_flipped_bit_goes_unnoticed(
            content in proptest::collection::vec(any::<u8>(), 1..1000),
            repeat in 1..100_usize,
            flip in any::<prop::sample::Index>(),
        ) {
            let content = content.repeat(repeat);
            let frame = FrameWriter::new().unwrap().frame(&content).unwrap();
            let mut decoded = b"before".to_vec();
            decode_frame(&frame, content.len(), &mut decoded).unwrap();
            prop_assert_eq!(&decoded[..6], b"before");
            prop_assert_eq!(&decoded[6..], &content);
            let mut decoded = Vec::new();
            let mut damaged = frame;
            let bit = flip.index(damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A bit that means nothing may flip; the content is never wrong.
            match decode_frame(&damaged, content.len(), &mut decoded) {
                Ok(()) => prop_assert_eq!(decoded, content),
                Err(_) => prop_assert!(decoded.is_empty()),
            }
        }

        #[test]
        fn a_directory_comes_back_whole_or_not_at_all(
            lengths in proptest::collection::vec(1..100_000_u32, 0..20),
            last in 1..=FRAME_BYTES as u64,
            flip in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let content = (lengths.len() as u64 * FRAME_BYTES as u64)
                .saturating_sub(FRAME_BYTES as u64 - last);
            let directory = Directory::new(if lengths.is_empty() { 0 } else { content }, &lengths);
            let bytes = directory.encode();
            let frames: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
            let file = HEADER_BYTES as u64 + frames + bytes.len() as u64;
            let footer = &bytes[bytes.len() - FOOTER_BYTES..];
            prop_assert_eq!(Directory::length(footer), Some(bytes.len() as u64));
            prop_assert_eq!(Directory::decode(&bytes, file), Ok(directory));
            prop_assert!(Directory::decode(&bytes, file + 1).is_err());
            let mut damaged = bytes.clone();
            damaged[flip.index(bytes.len())] ^= 0x10;
            prop_assert!(Directory::decode(&damaged, file).is_err());
            prop_assert!(Directory::decode(&bytes[cut.index(bytes.len())..][1..], file).is_err());
        }
    }
}
