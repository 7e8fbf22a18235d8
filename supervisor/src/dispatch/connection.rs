//! One client's connection: frames in, frames out.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak::wire::{
    Fault, FaultKind, FrameError, FrameKind, HEADER_BYTES, Header, Progress, Refusal, Reply,
    Request, VERSION, encode,
};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::follow::follow;
use super::route::{self, After};
use crate::supervisor::Supervisor;

/// How long a client may take from the first byte of a frame to its last.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves a client until it closes the connection or breaks the protocol.
pub async fn serve(mut stream: UnixStream, supervisor: &Arc<Supervisor>) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
        let message = format!("user {peer} may not talk to this supervisor; only root may");
        let fault = Reply::Fault(Fault { kind: FaultKind::Refused, message });
        return write(&mut stream, FrameKind::Reply, &fault).await;
    }
    loop {
        let (request, arrived) = match read(&mut stream).await? {
            Read::Request(request, arrived) => (request, arrived),
            Read::End => return Ok(()),
            Read::Version(other) => {
                let message = format!(
                    "this supervisor speaks version {VERSION} of the protocol, the client version \
                     {other}; use the client that was installed with it"
                );
                let refusal = Refusal { version: VERSION, message };
                return write(&mut stream, FrameKind::Refusal, &refusal).await;
            }
            Read::Broken(message) => {
                let fault = Reply::Fault(Fault { kind: FaultKind::BadInput, message });
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
        let (reply, after) = answer(&mut stream, supervisor, *request, arrived).await?;
        let written = write(&mut stream, FrameKind::Reply, &reply).await;
        // Also where the client is gone: its function's sandbox is as good as before.
        supervisor.after(after);
        drop(in_flight);
        written?;
    }
}

/// Carries a request out, telling its progress meanwhile.
async fn answer(
    stream: &mut UnixStream,
    supervisor: &Arc<Supervisor>,
    request: Request,
    arrived: Instant,
) -> io::Result<(Reply, After)> {
    let (progress, mut told) = mpsc::unbounded_channel::<Progress>();
    // A task of its own, so that a client that goes away does not cut it off half-way.
    let supervisor = supervisor.clone();
    let mut work =
        tokio::spawn(async move { route::route(&supervisor, request, arrived, &progress).await });
    loop {
        tokio::select! {
            biased;
            Some(progress) = told.recv() => {
                // A client that is gone is noticed by the reply.
                let _ = write(stream, FrameKind::Progress, &progress).await;
            }
            done = &mut work => return done.map_err(io::Error::other),
        }
    }
}

enum Read {
    Request(Box<Request>, Instant),
    End,
    Version(u16),
    Broken(String),
}

async fn read(stream: &mut UnixStream) -> io::Result<Read> {
    let mut header = [0; HEADER_BYTES];
    if stream.read(&mut header[..1]).await? == 0 {
        return Ok(Read::End);
    }
    let frame = async {
        stream.read_exact(&mut header[1..]).await?;
        let header = match Header::decode(&header) {
            Ok(header) if header.kind == FrameKind::Request => header,
            Ok(header) => return Ok(Read::Broken(format!("{:?} is no request", header.kind))),
            Err(FrameError::Version(other)) => return Ok(Read::Version(other)),
            Err(error) => return Ok(Read::Broken(error.to_string())),
        };
        let mut body = vec![0; header.length as usize];
        stream.read_exact(&mut body).await?;
        let arrived = Instant::now();
        Ok(match serde_json::from_slice(&body) {
            Ok(request) => Read::Request(Box::new(request), arrived),
            Err(error) => Read::Broken(format!("unreadable request: {error}")),
        })
    };
    tokio::time::timeout(PATIENCE, frame).await.unwrap_or_else(|_| {
        Ok(Read::Broken(format!("the request was not complete within {PATIENCE:?}")))
    })
}

async fn write(stream: &mut UnixStream, kind: FrameKind, body: &impl Serialize) -> io::Result<()> {
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
