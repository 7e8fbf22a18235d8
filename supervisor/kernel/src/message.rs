//! Messages with descriptors over a Unix stream socket.
//!
//! ```text
//! offset  bytes  field
//!      0      4  length of the body in bytes, little-endian
//!      4      …  body
//! ```
//!
//! Descriptors travel with the first byte. Both sides of such a socket are ours, but one of them
//! may be a function's process: the receiver says how long a body it takes.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// Most descriptors in one message: as many as the kernel takes (`SCM_MAX_FD`).
pub const MAX_DESCRIPTORS: usize = 253;

/// A message and the descriptors that came with it.
#[derive(Debug)]
pub struct Message {
    /// The body.
    pub body: Vec<u8>,
    /// The descriptors, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Sends a message, blocking until it is all written.
pub fn send(socket: BorrowedFd<'_>, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(invalid("more descriptors than one message takes"));
    }
    let length = u32::try_from(body.len()).map_err(|_| invalid("message too long"))?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(body);
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let mut controls: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
    let mut rest = frame.as_slice();
    while !rest.is_empty() {
        match sendmsg::<UnixAddr>(
            socket.as_raw_fd(),
            &[IoSlice::new(rest)],
            controls,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Ok(sent) => {
                rest = &rest[sent..];
                controls = &[];
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Receives a message of at most `longest` bytes, blocking until it is all there.
///
/// `None` where the other side has closed between two messages.
pub fn receive(socket: BorrowedFd<'_>, longest: usize) -> io::Result<Option<Message>> {
    let mut descriptors = Vec::new();
    let mut header = [0; 4];
    if !fill(socket, &mut header, &mut descriptors)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(header) as usize;
    if length > longest {
        return Err(invalid("message longer than is taken"));
    }
    let mut body = vec![0; length];
    if length > 0 && !fill(socket, &mut body, &mut descriptors)? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(Message { body, descriptors }))
}

/// Fills `buffer`; `false` where the other side has closed before its first byte.
fn fill(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
        let mut slices = [IoSliceMut::new(&mut buffer[filled..])];
        let received = match recvmsg::<UnixAddr>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(received) => received,
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for control in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                // SAFETY: the kernel made these descriptors for this call; nobody else has them.
                descriptors
                    .extend(numbers.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        match received.bytes {
            0 if filled == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => filled += bytes,
        }
    }
    Ok(true)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_message_brings_many_descriptors_and_no_more_than_it_can() {
        let (near, far) = UnixStream::pair().unwrap();
        let many = vec![near.as_fd(); MAX_DESCRIPTORS];
        send(near.as_fd(), b"all", &many).unwrap();
        let received = receive(far.as_fd(), 100).unwrap().unwrap();
        assert_eq!(received.descriptors.len(), MAX_DESCRIPTORS);
        assert!(send(near.as_fd(), b"", &vec![near.as_fd(); MAX_DESCRIPTORS + 1]).is_err());
    }

    #[test]
    fn a_message_brings_its_descriptors() {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(near.as_fd(), b"take this", &[writer.as_fd()]).unwrap();
        drop(writer);
        let message = receive(far.as_fd(), 100).unwrap().unwrap();
        assert_eq!(message.body, b"take this");
        let mut passed = std::fs::File::from(message.descriptors.into_iter().next().unwrap());
        passed.write_all(b"!").unwrap();
        drop(passed);
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "!");
    }

    #[test]
    fn a_lying_length_is_refused_and_an_end_between_messages_is_none() {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert_eq!(receive(far.as_fd(), 100).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(near);
        assert!(receive(far.as_fd(), 100).unwrap().is_none());
    }

    #[test]
    fn an_end_inside_a_message_is_an_error() {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(&[5, 0, 0, 0, b'x']).unwrap();
        drop(near);
        assert_eq!(receive(far.as_fd(), 100).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
