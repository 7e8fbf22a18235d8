//! Messages to and from the Python runtime: a line of JSON, then bytes that belong to it.
//!
//! The frame is that of `pipsqueak_kernel::message`; this is its asynchronous reader and writer.

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::stream::Stream;

/// Longest message that is taken from a zygote's process, in bytes.
pub const MAX_MESSAGE_BYTES: u64 = 6 << 20;
/// Room for the header of a function's answer, in bytes: for the names of some thousand modules.
pub const HEADER_BYTES: u64 = 1 << 20;

/// Joins a header and its body to what [`send`] and `pipsqueak_kernel::message::send` take.
pub fn compose(header: &impl Serialize, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut message = serde_json::to_vec(header)?;
    message.push(b'\n');
    message.extend_from_slice(body);
    Ok(message)
}

/// Sends messages as [`send`] does to a process of which an answer is waited for: that it has ended is
/// told there.
pub async fn ask(channel: &mut (impl AsyncWrite + Unpin), messages: &[Vec<u8>]) -> io::Result<()> {
    unless_ended(send(channel, messages).await)
}

/// What came of sending something to a process whose end is told elsewhere.
pub fn unless_ended(sent: io::Result<()>) -> io::Result<()> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        sent => sent,
    }
}

/// Sends messages, each made by [`compose`], in one write.
pub async fn send(channel: &mut (impl AsyncWrite + Unpin), messages: &[Vec<u8>]) -> io::Result<()> {
    channel.write_all(&frames(messages)?).await
}

/// Messages, each made by [`compose`], as they are sent.
pub fn frames(messages: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut frames = Vec::with_capacity(messages.iter().map(|message| 4 + message.len()).sum());
    for message in messages {
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        frames.extend_from_slice(&length.to_le_bytes());
        frames.extend_from_slice(message);
    }
    Ok(frames)
}

/// Whether the other side of a channel that nothing is expected on is there: a process may have been
/// killed while nobody looked.
pub fn is_open(channel: &Stream) -> bool {
    if channel.is_quiet() {
        return true;
    }
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(channel.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN)
}

/// Receives a message of so many bytes at most; `None` where the other side has closed, even half-way: a process that ends
/// while it writes is no different from one that ends before.
pub async fn receive<H: DeserializeOwned>(
    channel: &mut (impl AsyncRead + Unpin),
    longest: u64,
) -> io::Result<Option<(H, Vec<u8>)>> {
    let mut length = [0; 4];
    if ended(channel.read_exact(&mut length).await)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length);
    if u64::from(length) > longest {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {length} bytes is over the limit of {longest}"),
        ));
    }
    let mut message = vec![0; length as usize];
    if ended(channel.read_exact(&mut message).await)? {
        return Ok(None);
    }
    let end = message
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message without a header"))?;
    let header = serde_json::from_slice(&message[..end])?;
    message.drain(..=end);
    Ok(Some((header, message)))
}

/// Waits for the empty message by which a forked process says that it waits for its first; `false` where
/// it has ended instead.
pub async fn greeted(channel: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
    let mut length = [0; 4];
    if ended(channel.read_exact(&mut length).await)? {
        return Ok(false);
    }
    if length == [0; 4] {
        return Ok(true);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a message where an empty one belongs"))
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
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_back_and_lies_are_refused() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        let message = compose(&"header", b"body\nbody").unwrap();
        send(&mut near, &[message]).await.unwrap();
        let received: (String, Vec<u8>) = receive(&mut far, 100).await.unwrap().unwrap();
        assert_eq!(received, ("header".to_owned(), b"body\nbody".to_vec()));
        near.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        assert!(receive::<String>(&mut far, 100).await.is_err());
        near.write_all(&[9, 0, 0, 0, b'x']).await.unwrap();
        drop(near);
        assert!(receive::<String>(&mut far, 100).await.unwrap().is_none());
    }
}
