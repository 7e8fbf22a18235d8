//! One client's connection: frames in, frames out.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{MsgFlags, getsockopt, recv};
use pipsqueak::wire::{Fault, FaultKind, FrameKind, Progress, Refusal, Reply, Request, VERSION};
use tokio::io::BufReader;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::follow::follow;
use super::frames::{BUFFER_BYTES, Connection, Read, has_gone, read, write};
use super::route::{self, After, Caller};
use super::streamed;
use crate::stream::Stream;
use crate::supervisor::Supervisor;

/// Serves a client until the client closes the connection or breaks the protocol. A large request is
/// read once `room` has enough units for it.
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
            // Not counted as a request in flight: a follower never ends by itself.
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
        // Done even if the client is gone: its function's sandbox can serve again.
        after.carry_out(supervisor);
        drop(in_flight);
        written?;
        if !is_usable {
            return Ok(());
        }
    }
}

/// Carries a request out, and tells its progress meanwhile. If the client goes away, work that has
/// begun goes on; work that only waits for its turn is told, and ends.
async fn answer(
    stream: &mut Connection,
    supervisor: &Arc<Supervisor>,
    request: Request,
    arrived: Instant,
) -> (Reply, After) {
    let (progress, mut told) = mpsc::unbounded_channel::<Progress>();
    let gone = Notify::new();
    let caller = Caller { arrived, gone: &gone, streams: None };
    // In a box, so that a connection without a request takes little memory.
    let mut work = Box::pin(route::route(supervisor, request, caller, &progress));
    let mut is_watched = true;
    loop {
        tokio::select! {
            biased;
            Some(progress) = told.recv() => {
                // An error is ignored here; the reply fails, too.
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

/// Act of a client while it should wait.
enum Look {
    Nothing,
    /// The client has sent its next request, or has closed only its writing end.
    More,
    /// The client has closed the connection.
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
