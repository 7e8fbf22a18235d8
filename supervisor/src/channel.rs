//! Messages of [`crate::protocol`] on their way to and from the Python runtime.
//!
//! Each frame is one of `pipsqueak_kernel::message`; here are its asynchronous reader and writer.

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::protocol::{Incoming, Outgoing};
use crate::stream::Stream;

/// Longest message that a zygote's process may send, in bytes.
pub const MAX_MESSAGE_BYTES: u64 = 6 << 20;
/// Room for the header of a function's answer, in bytes: enough for the names of some thousand modules.
pub const HEADER_BYTES: u64 = 1 << 20;

/// Longest message over its limit that is still read to its end, in bytes, so that the next one can be
/// read. No message of a function that keeps to its limits is longer.
const LONGEST_DROPPED: u64 = 80 << 20;
/// Bytes of such a message that are read at once.
const DROPPED_BYTES: usize = 64 << 10;

/// Body of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// The whole body.
    Whole(Vec<u8>),
    /// The body was read and dropped, because the message was over its limit; length of the body in bytes.
    Dropped(u64),
}

/// Joins the kind, the header and the body of a message to what [`send`] and
/// `pipsqueak_kernel::message::send` take.
pub fn compose(header: &impl Outgoing, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut message = vec![header.kind()];
    serde_json::to_writer(&mut message, header)?;
    message.push(b'\n');
    message.extend_from_slice(body);
    Ok(message)
}

/// Variant of [`send`] for a process that is expected to answer. Its end is no error here, because the
/// reader of the answer sees it.
pub async fn ask(channel: &mut (impl AsyncWrite + Unpin), messages: &[Vec<u8>]) -> io::Result<()> {
    unless_ended(send(channel, messages).await)
}

/// True if the error is the kernel's report that the other side has closed without reading all that it
/// was sent.
pub fn is_unread(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Result of a send without the error that the process has ended, which the caller learns elsewhere.
pub fn unless_ended(sent: io::Result<()>) -> io::Result<()> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        sent => sent,
    }
}

/// What became of messages to a process that may have answered before it read them.
#[derive(Debug)]
pub enum Sent {
    /// The process has read them, as far as is known.
    Whole,
    /// The process has closed the channel without having read them.
    Unread(io::Error),
}

impl Sent {
    /// The result of a send. Errors if that failed for another reason than that nobody reads.
    pub fn of(sent: io::Result<()>) -> io::Result<Self> {
        match sent {
            Ok(()) => Ok(Self::Whole),
            Err(error) if is_unread(&error) => Ok(Self::Unread(error)),
            Err(error) => Err(error),
        }
    }

    /// The error that counts if no answer has come.
    pub fn unanswered(self) -> io::Result<()> {
        match self {
            Self::Whole => Ok(()),
            Self::Unread(error) => Err(error),
        }
    }
}

/// Sends messages, each made by [`compose`], in one write.
pub async fn send(channel: &mut (impl AsyncWrite + Unpin), messages: &[Vec<u8>]) -> io::Result<()> {
    channel.write_all(&frames(messages)?).await
}

/// The bytes of messages, each made by [`compose`], as they are sent.
pub fn frames(messages: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut frames = Vec::with_capacity(messages.iter().map(|message| 4 + message.len()).sum());
    for message in messages {
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        frames.extend_from_slice(&length.to_le_bytes());
        frames.extend_from_slice(message);
    }
    Ok(frames)
}

/// True if the other side of a channel still holds it. For a channel on which no message is expected:
/// its process may have been killed unnoticed.
pub fn is_open(channel: &Stream) -> bool {
    if channel.is_quiet() {
        return true;
    }
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(channel.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN)
}

/// Receives a message of at most `longest` bytes. `None` if the other side has closed, even half-way,
/// because a process that ends while it writes counts as one that ends before.
pub async fn receive<H: Incoming>(
    channel: &mut (impl AsyncRead + Unpin),
    longest: u64,
) -> io::Result<Option<(H, Vec<u8>)>> {
    match receive_or_drop(channel, longest).await {
        Ok(None) => Ok(None),
        Err(error) if is_unread(&error) => Ok(None),
        Ok(Some((header, Body::Whole(body)))) => Ok(Some((header, body))),
        Ok(Some((_, Body::Dropped(_)))) => {
            Err(invalid(format!("a message is over {longest} bytes")))
        }
        Err(error) => Err(error),
    }
}

/// Variant of [`receive`] that keeps the header of a longer message and drops its body, so that the
/// next message can be received. Errors if the bytes are no message, or one that is too long to be
/// dropped; an error that [`is_unread`] recognises if the other side has closed without reading all
/// that it was sent.
pub async fn receive_or_drop<H: Incoming>(
    channel: &mut (impl AsyncRead + Unpin),
    longest: u64,
) -> io::Result<Option<(H, Body)>> {
    let mut length = [0; 4];
    let read = channel.read_exact(&mut length).await;
    if let Err(error) = &read
        && is_unread(error)
    {
        return read.map(|_| None);
    }
    if ended(read)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length);
    if u64::from(length) > longest {
        return receive_header(channel, u64::from(length), longest).await;
    }
    let mut message = vec![0; length as usize];
    if ended(channel.read_exact(&mut message).await)? {
        return Ok(None);
    }
    let end = end_of_header(&message).ok_or_else(|| invalid(NO_HEADER))?;
    let header = read_header(&message[..end])?;
    message.drain(..=end);
    Ok(Some((header, Body::Whole(message))))
}

/// Receives the header, of at most `longest` bytes, of a message of `length` bytes, and drops the body.
async fn receive_header<H: Incoming>(
    channel: &mut (impl AsyncRead + Unpin),
    length: u64,
    longest: u64,
) -> io::Result<Option<(H, Body)>> {
    if length > LONGEST_DROPPED {
        return Err(invalid(format!("a message of {length} bytes is over the limit of {longest}")));
    }
    let mut buffer = vec![0; DROPPED_BYTES];
    let (mut header, mut end, mut left) = (Vec::new(), None, length);
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = match channel.read(&mut buffer[..most]).await {
            Ok(read @ 1..) => read,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        };
        left -= read as u64;
        if end.is_none() {
            let before = header.len();
            header.extend_from_slice(&buffer[..read]);
            end = end_of_header(&header[before..]).map(|end| before + end);
            if end.is_none() && header.len() as u64 > longest {
                return Err(invalid(NO_HEADER));
            }
        }
    }
    let end = end.ok_or_else(|| invalid(NO_HEADER))?;
    Ok(Some((read_header(&header[..end])?, Body::Dropped(length - end as u64 - 1))))
}

/// Reads the kind and the header of a message.
fn read_header<H: Incoming>(header: &[u8]) -> io::Result<H> {
    let (kind, header) = header.split_first().ok_or_else(|| invalid(NO_HEADER))?;
    H::read(*kind, header)
}

const NO_HEADER: &str = "a message without a header";

fn end_of_header(message: &[u8]) -> Option<usize> {
    message.iter().position(|byte| *byte == b'\n')
}

fn invalid(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Waits for the empty message that a forked process sends when it is ready for its first message.
/// False if the process has ended instead.
pub async fn greeted(channel: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
    let mut length = [0; 4];
    if ended(channel.read_exact(&mut length).await)? {
        return Ok(false);
    }
    if length == [0; 4] {
        return Ok(true);
    }
    Err(invalid("a message where an empty one belongs"))
}

fn ended(read: io::Result<usize>) -> io::Result<bool> {
    match read {
        Ok(_) => Ok(false),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ) =>
        {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde::Serialize;

    use super::*;

    /// A message with any text.
    #[derive(Debug, PartialEq, Eq, Serialize)]
    pub struct Text(pub String);

    impl Text {
        /// A message with this text.
        pub fn new(text: &str) -> Self {
            Self(text.to_owned())
        }
    }

    impl Outgoing for Text {
        fn kind(&self) -> u8 {
            b'T'
        }
    }

    impl Incoming for Text {
        fn read(_: u8, header: &[u8]) -> io::Result<Self> {
            Ok(Self(serde_json::from_slice(header)?))
        }
    }

    #[tokio::test]
    async fn messages_come_back_and_lies_are_refused() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        let message = compose(&Text::new("header"), b"body\nbody").unwrap();
        send(&mut near, &[message]).await.unwrap();
        let received: (Text, Vec<u8>) = receive(&mut far, 100).await.unwrap().unwrap();
        assert_eq!(received, (Text::new("header"), b"body\nbody".to_vec()));
        near.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        assert!(receive::<Text>(&mut far, 100).await.is_err());
        near.write_all(&[9, 0, 0, 0, b'x']).await.unwrap();
        drop(near);
        assert!(receive::<Text>(&mut far, 100).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_follows_a_message_that_is_too_long_is_received() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let long = compose(&Text::new("long"), &vec![b'x'; 1 << 20]).unwrap();
            let next = compose(&Text::new("next"), b"y").unwrap();
            send(&mut near, &[long.clone(), next]).await.unwrap();
            near.write_all(&frames(&[long]).unwrap()[..300]).await.unwrap();
        });
        let mut received = Vec::new();
        while let Some(one) = receive_or_drop::<Text>(&mut far, 100).await.unwrap() {
            received.push(one);
        }
        let long = (Text::new("long"), Body::Dropped(1 << 20));
        assert_eq!(received, [long, (Text::new("next"), Body::Whole(b"y".to_vec()))]);
    }

    #[tokio::test]
    async fn a_header_has_an_end_within_the_limit() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        send(&mut near, &[vec![b'x'; 200 << 10]]).await.unwrap();
        let error = receive_or_drop::<Text>(&mut far, 100).await.unwrap_err();
        assert_eq!(error.to_string(), NO_HEADER);
    }
}
