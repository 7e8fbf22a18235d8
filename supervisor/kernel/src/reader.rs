//! Messages as [`crate::message`] has them, read where they come without descriptors: most of them by
//! one read each.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

/// Bytes of a message's length.
const LENGTH_BYTES: usize = 4;
/// How much is read at once, in bytes: all of most messages.
const READ_BYTES: usize = 4 << 10;

/// What is read of a socket, and not taken yet.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Where in it what was received and not taken yet begins, and ends.
    begin: usize,
    end: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: vec![0; READ_BYTES], begin: 0, end: 0 }
    }
}

impl Reader {
    /// Receives the body of a message of at most `longest` bytes, blocking until it is all there.
    ///
    /// `None` where the other side has closed between two messages.
    pub fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        longest: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        while self.end - self.begin < LENGTH_BYTES {
            if !self.fill(socket)? {
                let is_between = self.begin == self.end;
                return if is_between {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
        let (length, rest) = self.buffer[self.begin..self.end].split_at(LENGTH_BYTES);
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length > longest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message longer than is taken"));
        }
        let mut body = vec![0; length];
        let mut filled = rest.len().min(length);
        body[..filled].copy_from_slice(&rest[..filled]);
        self.begin += LENGTH_BYTES + filled;
        while filled < length {
            match read(socket, &mut body[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => filled += bytes,
            }
        }
        Ok(Some(body))
    }

    /// Receives more; `false` at the end.
    fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        let bytes = read(socket, &mut self.buffer[self.end..])?;
        self.end += bytes;
        Ok(bytes > 0)
    }
}

/// Reads what there is, blocking until there is something.
///
/// Who waits in `recv` is woken by the other side's reading, too, and goes back to sleep; who polls for
/// what arrives is not.
fn read(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match recv(socket.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(bytes) => return Ok(bytes),
            // As at an end between messages: what it has not read, nobody will.
            Err(Errno::ECONNRESET) => return Ok(0),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::message::send;

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let (near, far) = UnixStream::pair().unwrap();
        let long = vec![b'x'; 3 * READ_BYTES];
        let bodies: [&[u8]; 5] = [b"one", b"", &long, b"four", &long[..READ_BYTES]];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for body in bodies {
                    send(near.as_fd(), body, &[]).unwrap();
                }
                // Byte by byte.
                for byte in [2, 0, 0, 0, b'e', b'f'] {
                    (&near).write_all(&[byte]).unwrap();
                }
                near.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut reader = Reader::default();
            for body in bodies {
                assert_eq!(reader.receive(far.as_fd(), long.len()).unwrap().as_deref(), Some(body));
            }
            assert_eq!(reader.receive(far.as_fd(), 2).unwrap().as_deref(), Some(&b"ef"[..]));
            assert!(reader.receive(far.as_fd(), 2).unwrap().is_none());
        });
    }

    #[test]
    fn a_lying_length_is_refused_and_an_end_inside_a_message_is_an_error() {
        for (sent, kind) in [
            (&[255; 4][..], io::ErrorKind::InvalidData),
            (&[5, 0, 0, 0, b'x'], io::ErrorKind::UnexpectedEof),
            (&[5, 0], io::ErrorKind::UnexpectedEof),
        ] {
            let (mut near, far) = UnixStream::pair().unwrap();
            near.write_all(sent).unwrap();
            drop(near);
            assert_eq!(Reader::default().receive(far.as_fd(), 100).unwrap_err().kind(), kind);
        }
    }
}
