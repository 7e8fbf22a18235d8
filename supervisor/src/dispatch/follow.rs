//! Logs of a function for a client: the records so far, and those that come.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pipsqueak::wire::{Fault, FrameKind, LogRecord, LogsRequest, Reply, encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::fault::internal;
use crate::logs::{Reader, Selection};
use crate::supervisor::Supervisor;
use crate::wall_clock;

/// Sends records until there are no more, or until the client, the function or the supervisor goes.
/// Returns the reply; `None` if the client has gone.
pub async fn follow(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    supervisor: &Arc<Supervisor>,
    wanted: LogsRequest,
) -> io::Result<Option<Reply>> {
    let done = || Ok(Some(Reply::Done { message: "that is all".to_owned() }));
    if let Err(fault) = supervisor.resources.functions.get(&wanted.function) {
        return Ok(Some(Reply::Fault(fault.into())));
    }
    let log = supervisor.resources.journal.of(&wanted.function);
    // A client that has had an invocation's reply must find what was recorded before it.
    supervisor.resources.journal.flush().await;
    let mut changes = log.changes();
    let mut ending = supervisor.ending();
    let mut reader = Reader::new(&log, selection(&wanted));
    if let Some(lines) = wanted.lines {
        let most = usize::try_from(lines).unwrap_or(usize::MAX);
        match read(reader, move |reader| reader.last(most)).await {
            Ok((same, records)) => {
                send(stream, &records).await?;
                reader = same;
            }
            Err(fault) => return Ok(Some(Reply::Fault(fault))),
        }
    }
    let mut said = [0];
    loop {
        changes.borrow_and_update();
        loop {
            let records = match read(reader, Reader::read).await {
                Ok((same, records)) => {
                    reader = same;
                    records
                }
                Err(fault) => return Ok(Some(Reply::Fault(fault))),
            };
            let Some(records) = records else { break };
            if !records.is_empty() {
                send(stream, &records).await?;
            }
        }
        if !wanted.follow || log.is_removed() {
            return done();
        }
        tokio::select! {
            more = changes.changed() => if more.is_err() { return done() },
            _ = ending.wait_for(Option::is_some) => return done(),
            // A client that follows may not send anything: it has gone, or breaks the protocol.
            _ = stream.read(&mut said) => return Ok(None),
        }
    }
}

fn selection(wanted: &LogsRequest) -> Selection {
    let since = wanted.since_ms.map(|ms| {
        let now = wall_clock::now();
        // An age beyond the range of times selects everything.
        let ago = chrono::TimeDelta::from_std(Duration::from_millis(ms)).ok();
        let since = ago.and_then(|ago| now.checked_sub_signed(ago));
        since.map_or_else(String::new, wall_clock::exactly)
    });
    Selection { since, request: wanted.request.clone() }
}

/// Reads in a thread that may block.
async fn read<T: Send + 'static>(
    mut reader: Reader,
    how: impl FnOnce(&mut Reader) -> io::Result<T> + Send + 'static,
) -> Result<(Reader, T), Fault> {
    let reading = tokio::task::spawn_blocking(move || {
        let read = how(&mut reader)?;
        Ok::<_, io::Error>((reader, read))
    });
    reading.await.map_err(internal)?.map_err(internal)
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), records: &[LogRecord]) -> io::Result<()> {
    // As many records as always fit into one frame.
    for some in records.chunks(128) {
        let frame = encode(FrameKind::Logs, &some).map_err(io::Error::other)?;
        stream.write_all(&frame).await?;
    }
    Ok(())
}
