//! The form of a view's index on disk: immutable, checksummed, mapped. All numbers are little-endian.
//!
//! ```text
//! header    magic, version, counts, number of the first node, BLAKE3 of all the rest
//! nodes     breadth first, so that a folder's children follow each other, sorted by name
//! objects   where the contents are
//! names     names and link targets, UTF-8, without separators
//! trace     what imports read, as [`crate::trace`] writes it; may be empty
//! ```

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub const MAGIC: [u8; 8] = *b"PSQKIDX\0";
pub const VERSION: u32 = 4;

/// The header.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    pub magic: [u8; 8],
    pub version: U32,
    pub nodes: U32,
    pub objects: U32,
    pub names: U32,
    pub first_number: U64,
    pub trace: U32,
    pub padding: U32,
    pub checksum: [u8; 32],
}

/// A node.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawNode {
    pub name: U32,
    pub name_length: U16,
    pub kind: u8,
    pub executable: u8,
    /// First child, object, or the target's place among the names.
    pub first: U32,
    /// Number of children, the target's length, or which copy of the object a file is.
    pub count: U32,
}

/// An object, and where its content is.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawObject {
    pub id: U64,
    pub size: U64,
    pub position: U64,
    pub segment: U32,
    pub padding: U32,
}

pub const FOLDER: u8 = 0;
pub const FILE: u8 = 1;
pub const EMPTY: u8 = 2;
pub const LINK: u8 = 3;

/// Digest of an index, its own place left out.
pub fn checksum(header: &Header, body: &[u8]) -> [u8; 32] {
    let before = std::mem::offset_of!(Header, checksum);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header.as_bytes()[..before]).update(body);
    *hasher.finalize().as_bytes()
}
