//! A segment's form on disk: pure encoding and decoding.
//!
//! ```text
//! offset  bytes  field
//!      0      8  magic "PSQKSEG\0"
//!      8      4  version, little-endian
//!     12      4  zero
//!     16      …  frames: zstd, each decodes on its own and carries a checksum of its content
//! ```
//!
//! An object is a run of frames; each but the last holds [`FRAME_BYTES`] of content, so that a
//! page fault in a large file decodes no more than that. The frames' lengths are in the catalog.

use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

/// Content in one frame, in bytes: twice what the kernel asks for at once.
pub const FRAME_BYTES: usize = 256 << 10;
/// Length of a segment's header.
pub const HEADER_BYTES: usize = 16;
/// zstd's default: the next levels save little on installed packages and take much longer.
const LEVEL: i32 = 3;

const MAGIC: [u8; 8] = *b"PSQKSEG\0";
const VERSION: u32 = 1;

/// The header of a segment.
pub fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// Whether bytes start with the header of a segment that this program reads.
pub fn has_header(bytes: &[u8]) -> bool {
    bytes.get(..HEADER_BYTES) == Some(&header())
}

/// Compresses objects into frames.
pub struct FrameWriter(Compressor<'static>);

impl FrameWriter {
    /// A writer of frames.
    pub fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self(compressor))
    }

    /// The frames of an object's content; none where that is empty.
    pub fn frames(&mut self, content: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        content.chunks(FRAME_BYTES).map(|chunk| self.0.compress(chunk)).collect()
    }
}

/// Decodes one frame of `expected` bytes of content; the error says how it is damaged.
pub fn decode_frame(frame: &[u8], expected: usize) -> Result<Vec<u8>, String> {
    let mut decompressor = Decompressor::new().map_err(|error| error.to_string())?;
    let content = decompressor.decompress(frame, expected).map_err(|error| error.to_string())?;
    if content.len() == expected {
        Ok(content)
    } else {
        Err(format!("a frame holds {} bytes where {expected} belong", content.len()))
    }
}

/// Content of frame `number` of an object of `size` bytes, in bytes.
pub fn frame_content(size: u64, number: usize) -> usize {
    let before = number as u64 * FRAME_BYTES as u64;
    usize::try_from(size.saturating_sub(before)).map_or(FRAME_BYTES, |left| left.min(FRAME_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn content_comes_back_and_no_flipped_bit_goes_unnoticed(
            content in proptest::collection::vec(any::<u8>(), 1..5000),
            repeat in 1..100_usize,
            flip in any::<prop::sample::Index>(),
        ) {
            let content = content.repeat(repeat);
            let frames = FrameWriter::new().unwrap().frames(&content).unwrap();
            let mut read = Vec::new();
            for (number, frame) in frames.iter().enumerate() {
                let expected = frame_content(content.len() as u64, number);
                read.extend(decode_frame(frame, expected).unwrap());
                let mut damaged = frame.clone();
                let bit = flip.index(damaged.len() * 8);
                damaged[bit / 8] ^= 1 << (bit % 8);
                let decoded = decode_frame(&damaged, expected);
                // A bit that means nothing may flip; the content is never wrong.
                if let Ok(decoded) = decoded {
                    prop_assert_eq!(decoded, &content[number * FRAME_BYTES..][..expected]);
                }
            }
            prop_assert_eq!(read, content);
        }
    }
}
