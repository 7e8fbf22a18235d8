//! An invocation whose result, and perhaps its body, is streamed while it runs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pipsqueak::wire::{
    FrameKind, HEADER_BYTES, Header, MAX_PART_BYTES, Progress, Reply, Request, encode_bytes,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::frames::{Connection, PATIENCE, has_gone, write};
use super::route::{self, After, Caller};
use crate::instance::{Given, Streams};
use crate::supervisor::Supervisor;

/// Time between two looks at a client whose body nobody reads: its unread bytes hide its end.
const GLANCE: Duration = Duration::from_secs(1);

/// Carries a streamed request out. The last value is true if the connection can be used for another
/// request: the client has sent all of its body and nothing more.
pub async fn answer(
    stream: &mut Connection,
    supervisor: &Arc<Supervisor>,
    request: Request,
    arrived: Instant,
    has_body: bool,
) -> (Reply, After, bool) {
    let (gone, is_whole) = (Notify::new(), AtomicBool::new(!has_body));
    // Without a body, a failed write shows that the client has gone.
    let glanced_at = stream.get_ref().as_fd().try_clone_to_owned().ok().filter(|_| has_body);
    let (done, is_usable) = {
        let (reader, writer) = tokio::io::split(&mut *stream);
        let (result, given) = mpsc::channel(1);
        let (parts, body) = mpsc::channel(1);
        let (progress, told) = mpsc::unbounded_channel();
        let streams = Some(Streams { result, body: has_body.then_some(body) });
        let caller = Caller { arrived, gone: &gone, streams };
        let mut work = Box::pin(route::route(supervisor, request, caller, &progress));
        let give = give(writer, given, told);
        let glanced_at = glanced_at.as_ref().map(AsFd::as_fd);
        let hear = hear(reader, glanced_at, has_body.then_some(parts), &is_whole);
        tokio::pin!(give, hear);
        let (mut given, mut is_heard) = (None, false);
        let done = loop {
            tokio::select! {
                biased;
                ended = &mut give, if given.is_none() => given = Some(ended.is_ok()),
                () = &mut hear, if !is_heard => {
                    is_heard = true;
                    gone.notify_one();
                }
                done = &mut work => break done,
            }
        };
        // Drops the sender of the result, so that `give` ends after what was sent.
        drop(work);
        let is_given = match given {
            Some(is_given) => is_given,
            None => timeout(PATIENCE, give).await.is_ok_and(|ended| ended.is_ok()),
        };
        (done, is_given.then(|| is_whole.load(Ordering::Relaxed) && !is_heard))
    };
    if is_usable.is_none() {
        // The client may have half a frame, and would take a reply for its rest.
        let _ = stream.shutdown().await;
    }
    let (reply, after) = done;
    (reply, after, is_usable.unwrap_or(false))
}

/// Sends a client its progress and its result, until no more comes.
async fn give(
    mut writer: impl AsyncWrite + Unpin,
    mut given: Receiver<Given>,
    mut told: UnboundedReceiver<Progress>,
) -> io::Result<()> {
    loop {
        let given = tokio::select! {
            biased;
            Some(progress) = told.recv() => {
                write(&mut writer, FrameKind::Progress, &progress).await?;
                continue;
            }
            given = given.recv() => given,
        };
        let Some(given) = given else { return Ok(()) };
        let frame = match &given {
            Given::Head(json) => encode_bytes(FrameKind::Head, json),
            Given::Part(bytes) => encode_bytes(FrameKind::Part, bytes),
        };
        writer.write_all(&frame.map_err(io::Error::other)?).await?;
    }
}

/// Reads the body of a client, if there is one, until `is_whole`. Then waits until the client goes, or
/// sends something that it may not send.
async fn hear(
    mut reader: impl AsyncRead + Unpin,
    glanced_at: Option<BorrowedFd<'_>>,
    parts: Option<Sender<Vec<u8>>>,
    is_whole: &AtomicBool,
) {
    if let Some(parts) = parts {
        loop {
            let Ok(part) = hear_part(&mut reader).await else { return };
            let is_last = part.is_empty();
            let send = parts.send(part);
            tokio::pin!(send);
            loop {
                tokio::select! {
                    // An error means that nobody wants the body any more; the reply is on its way.
                    _ = &mut send => break,
                    () = sleep(GLANCE) => if glanced_at.is_some_and(has_gone) { return },
                }
            }
            if is_last {
                break;
            }
        }
        is_whole.store(true, Ordering::Relaxed);
    }
    let _ = reader.read(&mut [0]).await;
}

async fn hear_part(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER_BYTES];
    reader.read_exact(&mut header).await?;
    let header = Header::decode(&header).map_err(io::Error::other)?;
    if header.kind != FrameKind::Part || header.length as usize > MAX_PART_BYTES {
        return Err(io::Error::other("no part of a body"));
    }
    let mut part = vec![0; header.length as usize];
    reader.read_exact(&mut part).await?;
    Ok(part)
}
