//! A Unix stream socket that wakes its task only for what the task waits for.
//!
//! The kernel also wakes a socket's owner when the other side has read something. Tokio's own stream
//! listens to that too, so each message sent would wake the task that waits for the answer once for
//! nothing. On a virtual machine such a wake-up costs more than all other work for a message.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::runtime::{self, Handle};

/// A Unix stream socket that wakes its task only for what the task waits for.
#[derive(Debug)]
pub struct Stream {
    socket: AsyncFd<UnixStream>,
    /// The runtime that wakes the socket's task.
    home: runtime::Id,
    /// Registration for writing, only while there is no room for what is to be written.
    room: Option<AsyncFd<UnixStream>>,
}

impl Stream {
    /// Takes a socket over. Must be called on a runtime.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let (socket, home) = (register(socket, Interest::READABLE)?, Handle::current().id());
        Ok(Self { socket, home, room: None })
    }

    /// Moves the socket to the runtime that this is called on, which then wakes its task directly. True
    /// if another runtime did so before.
    pub fn attach(&mut self) -> io::Result<bool> {
        let here = Handle::current().id();
        if self.home == here {
            return Ok(false);
        }
        let same = self.socket.get_ref().try_clone()?;
        self.socket = register(same, Interest::READABLE)?;
        (self.home, self.room) = (here, None);
        Ok(true)
    }

    /// True if there is nothing to read and no end, as far as the kernel has told.
    pub fn is_quiet(&self) -> bool {
        let context = &mut Context::from_waker(Waker::noop());
        self.socket.poll_read_ready(context).is_pending()
    }

    /// Waits until there may be something to read, or the end.
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, UnixStream>> {
        self.socket.readable().await
    }
}

fn register(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: the socket owns its descriptor, which is the same until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            let most = room.len();
            match guard.get_inner().read(room) {
                Ok(bytes) => {
                    // The read was short, so there is no more, and the kernel tells what comes.
                    if (1..most).contains(&bytes) {
                        guard.clear_ready();
                    }
                    buffer.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.socket.get_ref().write(data) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                written => {
                    self.room = None;
                    return Poll::Ready(written);
                }
            }
            if self.room.is_none() {
                let same = self.socket.get_ref().try_clone()?;
                self.room = Some(register(same, Interest::WRITABLE)?);
            }
            if let Some(room) = &self.room {
                ready!(room.poll_write_ready(context))?.clear_ready();
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn much_is_written_while_the_other_side_reads_and_then_it_ends() {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut near, mut far) = (Stream::new(near).unwrap(), Stream::new(far).unwrap());
        let sent: Vec<u8> = (0..4_000_000_u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            near.write_all(&sent).await.unwrap();
            assert!(near.room.is_none());
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, expected);
        writing.await.unwrap();
        let error = far.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn what_comes_after_a_part_was_read_is_told_of() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut near = Stream::new(near).unwrap();
        for part in [b"ab", b"cd"] {
            far.write_all(part).unwrap();
            let mut read = [0; 8];
            assert_eq!(near.read(&mut read).await.unwrap(), 2);
            assert_eq!(&read[..2], part);
        }
        drop(far);
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
