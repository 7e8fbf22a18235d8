//! Messages as [`crate::message`] has them, read where they rarely bring descriptors: most of them by one
//! read each. Whoever waits here hears of signals.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};

use crate::descriptor;

/// Bytes of a message's length.
const LENGTH_BYTES: usize = 4;
/// Bytes that are read at once: all of most messages.
const READ_BYTES: usize = 4 << 10;
/// Most descriptors that come at once.
const MOST_DESCRIPTORS: usize = 4;

/// Reader of a socket, with the bytes that were received and not taken yet.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Begin and end in it of the bytes that were received and not taken yet.
    begin: usize,
    end: usize,
    /// A message of which some is there: its body, and how many bytes of it.
    partial: Option<(Vec<u8>, usize)>,
    /// Room for what the kernel says of descriptors.
    control: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    /// Descriptor that is written to when a signal has come, and its file: code that closes the descriptor gives its
    /// number to another file.
    woken: Option<(BorrowedFd<'static>, (u64, u64))>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            buffer: vec![0; READ_BYTES],
            begin: 0,
            end: 0,
            partial: None,
            control: nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]),
            descriptors: Vec::new(),
            woken: None,
        }
    }
}

impl Reader {
    /// Receives the body of a message of at most `longest` bytes, blocking until it is all there.
    ///
    /// `None` where the other side has closed between two messages. Errors with
    /// [`io::ErrorKind::Interrupted`] when a signal has come: the next call goes on where this was.
    pub fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        longest: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        self.receive_within(socket, longest, READ_BYTES)
    }

    /// Variant that reads nothing of what comes after that message: the kernel tells the sender
    /// that it was not read, should this process end meanwhile.
    pub fn receive_alone(
        &mut self,
        socket: BorrowedFd<'_>,
        longest: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        self.receive_within(socket, longest, LENGTH_BYTES)
    }

    fn receive_within(
        &mut self,
        socket: BorrowedFd<'_>,
        longest: usize,
        most: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let (mut body, mut filled) = match self.partial.take() {
            Some(partial) => partial,
            None => match self.begin(socket, longest, most)? {
                Some(begun) => begun,
                None => return Ok(None),
            },
        };
        while filled < body.len() {
            match self.read(socket, &mut body[filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => filled += bytes,
                Err(error) => {
                    self.partial = Some((body, filled));
                    return Err(error);
                }
            }
        }
        Ok(Some(body))
    }

    /// Has [`Self::receive`] take it for a signal, too, when there is something to read from `woken`, which
    /// does not block: another thread may be the one that a signal has struck.
    pub fn heed(&mut self, woken: BorrowedFd<'static>) {
        self.woken = descriptor::file(woken).ok().map(|file| (woken, file));
    }

    /// Descriptors that have come and that nobody has taken yet, close-on-exec.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// Receives a message's length; its body, as far as that came along.
    fn begin(
        &mut self,
        socket: BorrowedFd<'_>,
        longest: usize,
        most: usize,
    ) -> io::Result<Option<(Vec<u8>, usize)>> {
        while self.end - self.begin < LENGTH_BYTES {
            if !self.fill(socket, most)? {
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
        let filled = rest.len().min(length);
        body[..filled].copy_from_slice(&rest[..filled]);
        self.begin += LENGTH_BYTES + filled;
        Ok(Some((body, filled)))
    }

    /// Receives more, until there is as much as `most` bytes; `false` at the end.
    fn fill(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<bool> {
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.read(socket, &mut buffer[self.end..most]);
        self.buffer = buffer;
        let bytes = read?;
        self.end += bytes;
        Ok(bytes > 0)
    }

    /// Waits until there is something to read.
    ///
    /// Waits by polling: a thread that waits in `recvmsg` is woken by the other side's reading, too, and goes back to
    /// sleep; a thread that polls for what arrives is not.
    fn wait(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let wanted = PollFd::new(socket, PollFlags::POLLIN);
        let polled = match self.woken {
            None => poll(&mut [wanted], PollTimeout::NONE),
            Some((woken, file)) => {
                let mut both = [wanted, PollFd::new(woken, PollFlags::POLLIN)];
                let ready = poll(&mut both, PollTimeout::NONE);
                let found = both[1].revents().unwrap_or(PollFlags::empty());
                let is_same = || descriptor::file(woken).is_ok_and(|now| now == file);
                if found.contains(PollFlags::POLLIN) && is_same() {
                    while let Ok(1..) = nix::unistd::read(woken, &mut [0; 64]) {}
                    return Err(io::ErrorKind::Interrupted.into());
                }
                // Where it is closed, or another's, nobody wakes by it.
                if !found.is_empty() {
                    self.woken = None;
                }
                ready
            }
        };
        match polled {
            // A process may poll no more descriptors than it may open. Reading waits, too.
            Ok(_) | Err(Errno::EINVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what there is, blocking until there is something.
    fn read(&mut self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(socket)?;
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let control = Some(self.control.as_mut_slice());
        let received = match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, control, flags) {
            Ok(received) => received,
            // As at an end between messages: what it has not read, nobody will.
            Err(Errno::ECONNRESET) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        // Those for which this process has no number left do not come, and it is told so.
        for control in received.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                let own = numbers.into_iter().map(|number| {
                    // SAFETY: the kernel made these descriptors for this call; nobody else has them.
                    unsafe { OwnedFd::from_raw_fd(number) }
                });
                self.descriptors.extend(own);
            }
        }
        Ok(received.bytes)
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
    fn a_signal_is_told_of_and_loses_nothing_and_descriptors_come_along() {
        use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
        use std::os::unix::thread::JoinHandleExt;

        extern "C" fn hear(_: i32) {}
        let action = SigAction::new(SigHandler::Handler(hear), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { sigaction(Signal::SIGUSR2, &action) }.unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let mut reader = Reader::default();
            let mut body = None;
            while body.is_none() {
                match reader.receive(far.as_fd(), 10) {
                    Ok(received) => body = received,
                    Err(error) => told.send(error.kind()).unwrap(),
                }
            }
            (body.unwrap(), reader.take_descriptors().len())
        });
        (&near).write_all(&[3, 0, 0, 0, b'a', b'b']).unwrap();
        let interrupted = loop {
            // It may not be waiting yet.
            // SAFETY: the thread is not joined yet.
            unsafe { libc::pthread_kill(waiting.as_pthread_t(), libc::SIGUSR2) };
            if let Ok(kind) = heard.recv_timeout(std::time::Duration::from_millis(10)) {
                break kind;
            }
        };
        assert_eq!(interrupted, io::ErrorKind::Interrupted);
        (&near).write_all(b"c").unwrap();
        assert_eq!(waiting.join().unwrap(), (b"abc".to_vec(), 0));

        let (near, far) = UnixStream::pair().unwrap();
        send(near.as_fd(), b"take", &[near.as_fd()]).unwrap();
        let mut reader = Reader::default();
        reader.receive(far.as_fd(), 10).unwrap().unwrap();
        assert_eq!((reader.take_descriptors().len(), reader.take_descriptors().len()), (1, 0));
    }

    #[test]
    fn what_has_the_number_of_a_closed_file_is_not_taken_for_it() {
        let (near, far) = UnixStream::pair().unwrap();
        let (woken, _wakes) = io::pipe().unwrap();
        let number = woken.as_raw_fd();
        let mut reader = Reader::default();
        // SAFETY: the descriptor is open until the end of this test.
        reader.heed(unsafe { BorrowedFd::borrow_raw(number) });
        // It is always ready.
        let null = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: both are open; `woken` has the same number after it.
        assert_eq!(unsafe { libc::dup2(null.as_raw_fd(), number) }, number);
        send(near.as_fd(), b"heard", &[]).unwrap();
        assert_eq!(reader.receive(far.as_fd(), 10).unwrap().as_deref(), Some(&b"heard"[..]));
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
