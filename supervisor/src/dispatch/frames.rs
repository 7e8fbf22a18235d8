//! Frames of a client's connection, read and written.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pipsqueak::wire::{
    Fault, FaultKind, FrameError, FrameKind, HEADER_BYTES, Header, Reply, Request, encode,
};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;

use crate::stream::Stream;

/// Longest time from the first byte of a client's frame to its last.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a connection that are read at once.
pub const BUFFER_BYTES: usize = 4 << 10;
/// Unit of room for large requests, in bytes. A request of at most one unit is not large.
const UNIT_BYTES: u32 = 64 << 10;
/// Units of large requests that may be held at the same time: 256 MiB in all.
pub const ROOM: usize = (256 << 20) / UNIT_BYTES as usize;

/// Connection of a client. One read takes most requests.
pub type Connection = BufReader<Stream>;

/// True if the client has closed the connection, even if some of its bytes are not read yet.
pub fn has_gone(stream: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(stream, PollFlags::empty())];
    let told = poll(&mut asked, PollTimeout::ZERO);
    let hung_up = PollFlags::POLLHUP;
    told.is_ok() && asked[0].revents().is_some_and(|events| events.contains(hung_up))
}

/// Result of reading a request.
pub enum Read {
    /// A request, the time at which it was read, and its units of room.
    Request(Box<Request>, Instant, Option<OwnedSemaphorePermit>),
    /// The end of the connection.
    End,
    /// A frame of another version of the protocol.
    Version(u16),
    /// No request; the fault to tell the client.
    Broken(FaultKind, String),
}

/// Reads a request. A large one is read once `room` has enough units of [`UNIT_BYTES`] for it.
pub async fn read(stream: &mut Connection, room: &Arc<Semaphore>) -> io::Result<Read> {
    if stream.fill_buf().await?.is_empty() {
        return Ok(Read::End);
    }
    let broken = |message| Ok(Read::Broken(FaultKind::BadInput, message));
    let frame = async {
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header).await?;
        let header = match Header::decode(&header) {
            Ok(header) if header.kind == FrameKind::Request => header,
            Ok(header) => return broken(format!("{:?} is no request", header.kind)),
            Err(FrameError::Version(other)) => return Ok(Read::Version(other)),
            Err(error) => return broken(error.to_string()),
        };
        let Ok(held) = hold(header.length, room).await else {
            let message = "too many large requests at once; try again later".to_owned();
            return Ok(Read::Broken(FaultKind::Refused, message));
        };
        let mut body = vec![0; header.length as usize];
        stream.read_exact(&mut body).await?;
        let arrived = Instant::now();
        match serde_json::from_slice(&body) {
            Ok(request) => Ok(Read::Request(Box::new(request), arrived, held)),
            Err(error) => broken(format!("unreadable request: {error}")),
        }
    };
    tokio::time::timeout(PATIENCE, frame)
        .await
        .unwrap_or_else(|_| broken(format!("the request was not complete within {PATIENCE:?}")))
}

/// Waits until there is room for a frame of this length. Small frames need none, and get `None`.
async fn hold(bytes: u32, room: &Arc<Semaphore>) -> Result<Option<OwnedSemaphorePermit>, Elapsed> {
    if bytes <= UNIT_BYTES {
        return Ok(None);
    }
    let held = room.clone().acquire_many_owned(bytes.div_ceil(UNIT_BYTES));
    tokio::time::timeout(PATIENCE / 2, held).await.map(Result::ok)
}

/// Sends a frame. If it cannot be encoded, sends the reason as a fault.
pub async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: FrameKind,
    body: &impl Serialize,
) -> io::Result<()> {
    let frame = match encode(kind, body) {
        Ok(frame) => frame,
        Err(error) => {
            let message = format!("the answer cannot be sent: {error}");
            let fault = Reply::Fault(Fault { kind: FaultKind::Refused, message });
            encode(FrameKind::Reply, &fault).map_err(io::Error::other)?
        }
    };
    stream.write_all(&frame).await
}
