//! One client's connection: frames in, frames out.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{MsgFlags, getsockopt, recv};
use pipsqueak::wire::{
    Fault, FaultKind, FrameError, FrameKind, HEADER_BYTES, Header, Progress, Refusal, Reply,
    Request, VERSION, encode,
};
use serde::Serialize;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::error::Elapsed;

use super::follow::follow;
use super::route::{self, After, Caller};
use super::streamed;
use crate::stream::Stream;
use crate::supervisor::Supervisor;

/// How long a client may take from the first byte of a frame to its last.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How much of a connection is read at once, in bytes.
const BUFFER_BYTES: usize = 4 << 10;
/// What large requests take room in, in bytes, and the longest that is not large.
const UNIT_BYTES: u32 = 64 << 10;
/// How many units of large requests are held at the same time, at 256 MiB.
pub const ROOM: usize = (256 << 20) / UNIT_BYTES as usize;

/// A client's connection. Most requests come with one read of it.
pub type Connection = BufReader<Stream>;

/// Serves a client until it closes the connection or breaks the protocol. Its large requests are
/// read when `room` has as many units of [`UNIT_BYTES`] for them.
pub async fn serve(
    stream: UnixStream,
    supervisor: &Arc<Supervisor>,
    room: &Arc<Semaphore>,
) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(BUFFER_BYTES, Stream::new(stream)?);
    let peer = getsockopt(stream.get_ref(), PeerCredentials)?.uid();
    if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
        let message = format!("user {peer} may not talk to this supervisor; only root may");
        let fault = Reply::Fault(Fault { kind: FaultKind::Refused, message });
        return write(&mut stream, FrameKind::Reply, &fault).await;
    }
    loop {
        let (request, arrived, _held) = match read(&mut stream, room).await? {
            Read::Request(request, arrived, held) => (request, arrived, held),
            Read::End => return Ok(()),
            Read::Version(other) => {
                let message = format!(
                    "this supervisor speaks version {VERSION} of the protocol, the client version \
                     {other}; use the client that was installed with it"
                );
                let refusal = Refusal { version: VERSION, message };
                return write(&mut stream, FrameKind::Refusal, &refusal).await;
            }
            Read::Broken(kind, message) => {
                let fault = Reply::Fault(Fault { kind, message });
                return write(&mut stream, FrameKind::Reply, &fault).await;
            }
        };
        if let Request::Logs(wanted) = *request {
            // Nobody waits for those who follow: they are no requests that are to be answered.
            let Some(reply) = follow(&mut stream, supervisor, wanted).await? else { return Ok(()) };
            write(&mut stream, FrameKind::Reply, &reply).await?;
            continue;
        }
        let in_flight = supervisor.begin_request();
        let (reply, after, is_usable) = match *request {
            Request::InvokeStreamed { has_body, .. } => {
                streamed::answer(&mut stream, supervisor, *request, arrived, has_body).await
            }
            request => {
                let (reply, after) = answer(&mut stream, supervisor, request, arrived).await;
                (reply, after, true)
            }
        };
        let written = write(&mut stream, FrameKind::Reply, &reply).await;
        // Also where the client is gone: its function's sandbox is as good as before.
        after.carry_out(supervisor);
        drop(in_flight);
        written?;
        if !is_usable {
            return Ok(());
        }
    }
}

/// Carries a request out, telling its progress meanwhile. A client that goes away does not cut it off
/// half-way, but is told to what only waits for its turn.
async fn answer(
    stream: &mut Connection,
    supervisor: &Arc<Supervisor>,
    request: Request,
    arrived: Instant,
) -> (Reply, After) {
    let (progress, mut told) = mpsc::unbounded_channel::<Progress>();
    let gone = Notify::new();
    let caller = Caller { arrived, gone: &gone, streams: None };
    // In a box, so that a connection without a request is small.
    let mut work = Box::pin(route::route(supervisor, request, caller, &progress));
    let mut is_watched = true;
    loop {
        tokio::select! {
            biased;
            Some(progress) = told.recv() => {
                // A client that is gone is noticed by the reply.
                let _ = write(stream, FrameKind::Progress, &progress).await;
            }
            done = &mut work => return done,
            readiness = stream.get_ref().readable(), if is_watched => {
                match readiness.map_or(Look::More, look) {
                    Look::Nothing => {}
                    Look::More => is_watched = false,
                    Look::Gone => {
                        is_watched = false;
                        gone.notify_one();
                    }
                }
            }
        }
    }
}

/// What a client is seen to do while it is to wait.
enum Look {
    Nothing,
    /// It has sent its next request, or says that there is none.
    More,
    /// It has closed the connection.
    Gone,
}

fn look(mut readiness: AsyncFdReadyGuard<'_, UnixStream>) -> Look {
    let peek = |stream: &AsyncFd<UnixStream>| {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        Ok(recv(stream.as_raw_fd(), &mut [0], flags)?)
    };
    match readiness.try_io(peek) {
        Err(_) => Look::Nothing,
        Ok(Ok(1..)) => Look::More,
        Ok(Ok(0) | Err(_)) => {
            if has_gone(readiness.get_inner().as_fd()) {
                Look::Gone
            } else {
                Look::More
            }
        }
    }
}

/// Whether the client of a connection has closed it, whatever of what it has said is not read yet.
pub fn has_gone(stream: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(stream, PollFlags::empty())];
    let told = poll(&mut asked, PollTimeout::ZERO);
    let hung_up = PollFlags::POLLHUP;
    told.is_ok() && asked[0].revents().is_some_and(|events| events.contains(hung_up))
}

enum Read {
    Request(Box<Request>, Instant, Option<OwnedSemaphorePermit>),
    End,
    Version(u16),
    Broken(FaultKind, String),
}

async fn read(stream: &mut Connection, room: &Arc<Semaphore>) -> io::Result<Read> {
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

/// Waits until there is room for a frame of so many bytes; small ones have some of their own.
async fn hold(bytes: u32, room: &Arc<Semaphore>) -> Result<Option<OwnedSemaphorePermit>, Elapsed> {
    if bytes <= UNIT_BYTES {
        return Ok(None);
    }
    let held = room.clone().acquire_many_owned(bytes.div_ceil(UNIT_BYTES));
    tokio::time::timeout(PATIENCE / 2, held).await.map(Result::ok)
}

/// Sends a frame, or in its place why it cannot be sent.
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
