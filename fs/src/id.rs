//! Identities: objects and views by digest, nodes of the mount by number.

use std::fmt;

/// Digest of an object's content, of a distribution, or of a view: BLAKE3, 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Digest of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

/// Number of an object in the catalog; never reused.
pub type ObjectId = u64;
/// Number of a segment in the catalog; never reused.
pub type SegmentId = u32;
