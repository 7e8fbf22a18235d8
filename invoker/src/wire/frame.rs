//! Frames: a fixed header that names protocol, version and kind, then a body of known length, which is
//! JSON except for parts of streams.
//!
//! ```text
//! offset  bytes  field
//!      0      4  magic "PSQK"
//!      4      2  version, little-endian
//!      6      2  kind, little-endian
//!      8      4  length of the body in bytes, little-endian
//!     12      …  body
//! ```

use serde::Serialize;

use super::version::VERSION;

const MAGIC: [u8; 4] = *b"PSQK";

/// Length of a frame's header in bytes.
pub const HEADER_BYTES: usize = 12;

/// Longest body that either side accepts, in bytes: the longest payload that can be asked for, and
/// room for the rest.
pub const MAX_FRAME_BYTES: u32 = 72 << 20;

/// Longest part of a stream, in bytes.
pub const MAX_PART_BYTES: usize = 256 << 10;

/// Kind of a frame, by its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum FrameKind {
    /// A [`super::Request`], from the client.
    Request = 1,
    /// A [`super::Reply`], the last frame that answers a request.
    Reply = 2,
    /// A [`super::Progress`], any number of them before the reply.
    Progress = 3,
    /// A [`super::Refusal`]: the supervisor speaks another version.
    Refusal = 4,
    /// A list of [`super::LogRecord`], any number of them before the reply to a
    /// [`super::LogsRequest`].
    Logs = 5,
    /// JSON that precedes a streamed result: status and headers of an HTTP response.
    Head = 6,
    /// Bytes, at most [`MAX_PART_BYTES`]: some of a streamed result, any number of them before the
    /// reply; or, from the client, some of a streamed body, which an empty one ends.
    Part = 7,
}

/// Reason that bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The first bytes are not those of this protocol.
    #[error("not a Pipsqueak message (it starts with {0:02x?})")]
    Magic([u8; 4]),
    /// The peer speaks another version.
    #[error("the peer speaks version {0} of the protocol, this program version {VERSION}")]
    Version(u16),
    /// The kind is not one of [`FrameKind`].
    #[error("unknown kind of message {0}")]
    Kind(u16),
    /// The body would be longer than [`MAX_FRAME_BYTES`].
    #[error("a message of {0} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLong(u64),
    /// The body is not the JSON that its kind says.
    #[error("malformed message: {0}")]
    Body(#[source] serde_json::Error),
}

/// A frame's header, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Kind of the body.
    pub kind: FrameKind,
    /// Length of the body in bytes, at most [`MAX_FRAME_BYTES`].
    pub length: u32,
}

impl Header {
    /// Reads a header. A refusal is accepted from a peer of any version.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [m0, m1, m2, m3, v0, v1, k0, k1, l0, l1, l2, l3] = *bytes;
        let magic = [m0, m1, m2, m3];
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        let kind = match u16::from_le_bytes([k0, k1]) {
            1 => FrameKind::Request,
            2 => FrameKind::Reply,
            3 => FrameKind::Progress,
            4 => FrameKind::Refusal,
            5 => FrameKind::Logs,
            6 => FrameKind::Head,
            7 => FrameKind::Part,
            other => return Err(FrameError::Kind(other)),
        };
        let version = u16::from_le_bytes([v0, v1]);
        if version != VERSION && kind != FrameKind::Refusal {
            return Err(FrameError::Version(version));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong(length.into()));
        }
        Ok(Self { kind, length })
    }
}

/// A whole frame, ready to be written at once.
pub fn encode<T: Serialize>(kind: FrameKind, message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, message).map_err(FrameError::Body)?;
    headed(kind, bytes)
}

/// A whole frame whose body is these bytes.
pub fn encode_bytes(kind: FrameKind, body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.resize(HEADER_BYTES, 0);
    bytes.extend_from_slice(body);
    headed(kind, bytes)
}

/// Writes the header into the room before the body.
fn headed(kind: FrameKind, mut bytes: Vec<u8>) -> Result<Vec<u8>, FrameError> {
    let length = bytes.len() - HEADER_BYTES;
    let length = u32::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_FRAME_BYTES)
        .ok_or(FrameError::TooLong(length as u64))?;
    bytes[0..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes[6..8].copy_from_slice(&(kind as u16).to_le_bytes());
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_of(bytes: &[u8]) -> [u8; HEADER_BYTES] {
        bytes[..HEADER_BYTES].try_into().unwrap()
    }

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let frame = encode(FrameKind::Reply, &"body").unwrap();
        let header = Header::decode(&header_of(&frame)).unwrap();
        assert_eq!(header, Header { kind: FrameKind::Reply, length: 6 });
        assert_eq!(&frame[HEADER_BYTES..], b"\"body\"");
        let frame = encode_bytes(FrameKind::Part, b"\0\xff").unwrap();
        let header = Header::decode(&header_of(&frame)).unwrap();
        assert_eq!(header, Header { kind: FrameKind::Part, length: 2 });
        assert_eq!(&frame[HEADER_BYTES..], b"\0\xff");
    }

    #[test]
    fn another_version_is_named_and_only_its_refusal_is_read() {
        let mut frame = encode(FrameKind::Request, &1).unwrap();
        frame[4] = 9;
        let read = Header::decode(&header_of(&frame));
        assert!(matches!(read, Err(FrameError::Version(9))), "{read:?}");
        frame[6] = FrameKind::Refusal as u8;
        assert!(Header::decode(&header_of(&frame)).is_ok());
    }

    #[test]
    fn foreign_bytes_and_lying_lengths_are_refused() {
        let read = Header::decode(b"GET / HTTP/1");
        assert!(matches!(read, Err(FrameError::Magic(magic)) if magic == *b"GET "), "{read:?}");
        let mut frame = encode(FrameKind::Request, &1).unwrap();
        frame[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        let read = Header::decode(&header_of(&frame));
        let length = u64::from(u32::MAX);
        assert!(matches!(read, Err(FrameError::TooLong(long)) if long == length), "{read:?}");
    }
}
