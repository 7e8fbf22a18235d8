//! A process that serves several invocations at once. Each answer names its invocation, and so does
//! output, if the process knows whose it is.

mod sending;

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, mpsc, oneshot};

use self::sending::{Sending, Writer};
use super::exchange::{Imported, Logs, PRINTED_BYTES, read_printed};
use super::parts::{Parts, WINDOW};
use super::printed::{self, Old};
use crate::channel::{self, Body, Sent};
use crate::logs::Recording;
use crate::protocol::{Answer, FromFunction, Said};
use crate::stream::Stream;
use crate::sync::{Mutex, lock};

/// Header and body of an answer, and the output that belongs to it.
type Answered = (Answer, Vec<u8>, Logs);

/// Channel of a process that serves several invocations at once.
#[derive(Debug)]
pub struct Shared {
    writer: Arc<tokio::sync::Mutex<Writer>>,
    /// Duplicate of the channel's socket, to send a pipe along; only for the holder of the writer.
    socket: OwnedFd,
    calls: Arc<Mutex<Calls>>,
    /// Notified when there is another pipe.
    changed: Arc<Notify>,
}

/// Calls that wait for an answer.
#[derive(Debug, Default)]
struct Calls {
    waiting: HashMap<String, Waiting>,
    /// Modules that answers have named. A process names each in its next answer, whichever call that is for.
    imported: Imported,
    /// Output of an unknown call; told with the next answer.
    unknown: Logs,
    /// Recording of output that belongs to no waiting call.
    nobody: Option<Recording>,
    /// True if the process must get another pipe to print to, which is then `fresh`.
    is_without_pipe: bool,
    fresh: Option<pipe::Receiver>,
    /// True once the process has said anything: only its first message may be an answer that names no call.
    has_answered: bool,
    /// Answer of a handler that could not be loaded; also for calls that come until the process is gone.
    unloaded: Option<(Answer, Vec<u8>)>,
    /// Reason that no more answers come; `None` while they do.
    ended: Option<Ended>,
}

#[derive(Debug, Clone)]
enum Ended {
    Closed,
    /// The process had said nothing, and not read all that it was sent.
    Unread,
    Broken(String),
}

#[derive(Debug)]
struct Waiting {
    answer: Option<oneshot::Sender<Answered>>,
    /// Takes what the process says about streams.
    said: Option<mpsc::Sender<(Said, Vec<u8>)>>,
    logs: Logs,
}

/// One call, which ends when this is dropped.
#[derive(Debug)]
pub struct Call<'a> {
    shared: &'a Shared,
    id: &'a str,
    answer: oneshot::Receiver<Answered>,
    said: Option<mpsc::Receiver<(Said, Vec<u8>)>>,
}

impl Shared {
    /// Follows a channel and its output. An answer has at most `longest` bytes.
    pub fn new(channel: Stream, printed: pipe::Receiver, longest: u64) -> io::Result<Self> {
        let socket = channel.as_fd().try_clone_to_owned()?;
        let (reader, writer) = tokio::io::split(channel);
        let calls = Arc::<Mutex<Calls>>::default();
        let (told, changed) = (calls.clone(), Arc::<Notify>::default());
        let has_changed = changed.clone();
        tokio::spawn(async move {
            let ended = follow(reader, printed, (&told, &has_changed), longest).await;
            let mut calls = lock(&told);
            calls.ended = Some(ended);
            // Waiting calls see that no answer comes, and get the last output.
            let Calls { waiting, unknown, .. } = &mut *calls;
            for call in waiting.values_mut() {
                call.logs.append(unknown);
                call.answer = None;
            }
        });
        let writer = Arc::new(tokio::sync::Mutex::new(Writer::new(writer)));
        Ok(Self { writer, socket, calls, changed })
    }

    /// True if the process still holds the channel.
    pub fn is_open(&self) -> bool {
        lock(&self.calls).ended.is_none()
    }

    /// Takes the modules that answers have named, as far as they were not taken yet.
    pub fn take_imported(&self) -> Vec<String> {
        lock(&self.calls).imported.take()
    }

    /// Begins to wait for the answer to the invocation `id`, whose output is added to `logs`. Parts are
    /// awaited too if the call `is_streamed`.
    pub fn call<'a>(&'a self, id: &'a str, logs: Logs, is_streamed: bool) -> Call<'a> {
        let (answer, receiver) = oneshot::channel();
        // Besides its window, a process asks for one part of the body at a time, and sends one head.
        let (said, heard) = is_streamed.then(|| mpsc::channel(WINDOW + 2)).unzip();
        let mut calls = lock(&self.calls);
        calls.nobody = logs.of_nobody();
        if let Some((told, body)) = &calls.unloaded {
            let _ = answer.send((told.clone(), body.clone(), logs));
        } else if calls.ended.is_none() {
            let waiting = Waiting { answer: Some(answer), said, logs };
            calls.waiting.insert(id.to_owned(), waiting);
        }
        Call { shared: self, id, answer: receiver, said: heard }
    }
}

impl Shared {
    /// Gives the process another pipe to print to, if processes that it has left hold the current one.
    fn renew_pipe(&self) -> io::Result<()> {
        let mut calls = lock(&self.calls);
        if std::mem::take(&mut calls.is_without_pipe) {
            calls.fresh = Some(printed::renew(self.socket.as_fd())?);
            self.changed.notify_one();
        }
        Ok(())
    }

    async fn tell(&self, told: Option<Vec<u8>>) -> io::Result<()> {
        let Some(told) = told else { return Ok(()) };
        Sending::begin(&self.writer).await.send(&[told]).await
    }
}

impl Call<'_> {
    /// Sends the invocation, and before the very first one the message of `first`; passes on `parts`.
    /// `None` if the process closed the channel instead of answering.
    pub async fn exchange(
        &mut self,
        first: impl FnOnce() -> io::Result<Vec<u8>>,
        message: Vec<u8>,
        parts: Option<Parts<'_>>,
    ) -> io::Result<Option<Answered>> {
        let sent = {
            let sending = Sending::begin(&self.shared.writer).await;
            self.shared.renew_pipe()?;
            // A call that is given up before it writes leaves `first` to the next call.
            let first = sending.is_first().then(first).transpose()?;
            let messages: Vec<_> = first.into_iter().chain([message]).collect();
            // A process that could not load its handler has said so, and ends without reading more.
            Sent::of(sending.send(&messages).await)?
        };
        let answered = match (parts, &mut self.said) {
            (Some(mut parts), Some(said)) => {
                let answered = loop {
                    let told = tokio::select! {
                        biased;
                        Some((said, bytes)) = said.recv() => parts.hear(said, bytes).await?,
                        part = parts.next() => Some(part?),
                        answered = &mut self.answer => break answered,
                    };
                    self.shared.tell(told).await?;
                };
                self.shared.tell(parts.end()?).await?;
                answered
            }
            _ => (&mut self.answer).await,
        };
        match answered {
            Ok(answered) => Ok(Some(answered)),
            Err(_) => match lock(&self.shared.calls).ended.clone() {
                Some(Ended::Broken(reason)) => Err(io::Error::other(reason)),
                Some(Ended::Unread) => Err(io::ErrorKind::ConnectionReset.into()),
                _ => sent.unanswered().map(|()| None),
            },
        }
    }

    /// Output of the call so far, for a call without an answer.
    pub fn logs(&self) -> Logs {
        let mut calls = lock(&self.shared.calls);
        let own = calls.waiting.get_mut(self.id).map(|call| std::mem::take(&mut call.logs));
        let mut logs = own.unwrap_or_default();
        if calls.ended.is_none() {
            logs.append(&std::mem::take(&mut calls.unknown));
        }
        logs
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        lock(&self.shared.calls).waiting.remove(self.id);
    }
}

impl Calls {
    /// Keeps output of an unknown call.
    fn print(&mut self, bytes: &[u8]) {
        match &mut self.nobody {
            Some(nobody) if self.waiting.is_empty() => nobody.print(bytes),
            _ => self.unknown.add(bytes),
        }
    }

    /// Hands out a message of the process. A forbidden message is a failure of the call that it names.
    fn tell(&mut self, said: FromFunction, body: Body, longest: u64) {
        let is_first = !std::mem::replace(&mut self.has_answered, true);
        match (said, body) {
            (FromFunction::Answer(mut answer), body) => {
                self.imported.note(std::mem::take(&mut answer.imported));
                match body {
                    body if answer.request_id.is_none() => self.unload(is_first, answer, body),
                    Body::Whole(body) => self.answer(answer, body),
                    Body::Dropped(bytes) => {
                        self.answer(answer.too_long(bytes, longest, true), Vec::new());
                    }
                }
            }
            (FromFunction::Printed { request_id }, body) => {
                // The call was given up, because its client has gone.
                let Some(call) = self.waiting.get_mut(&request_id) else { return };
                match body {
                    Body::Whole(body) => call.logs.add(&body),
                    Body::Dropped(bytes) => call.logs.skip(bytes),
                }
            }
            (FromFunction::Said { part, request_id }, Body::Whole(body)) => {
                let Some(call) = self.waiting.get_mut(&request_id) else { return };
                let sent = call.said.as_ref().map(|call| call.try_send((part, body)));
                if let Some(Err(mpsc::error::TrySendError::Full(_))) = sent {
                    let message = "it sent more parts at once than were agreed on".to_owned();
                    let answer = Answer::to(request_id);
                    self.answer(answer.failed("Runtime.ProtocolError", message, false), Vec::new());
                }
            }
            (FromFunction::Said { request_id, .. }, Body::Dropped(bytes)) => {
                // The process goes on streaming, and nobody takes it, so it is not fit.
                let answer = Answer::to(request_id).too_long(bytes, longest, false);
                self.answer(answer, Vec::new());
            }
        }
    }

    /// Tells all calls that the handler could not be loaded; the answer names no call. Ignored unless
    /// it is the process's first message, because a later one answers nothing that was asked.
    fn unload(&mut self, is_first: bool, answer: Answer, body: Body) {
        let Body::Whole(body) = body else { return };
        if !is_first {
            return;
        }
        for call in self.waiting.values_mut() {
            if let Some(sender) = call.answer.take() {
                let logs = std::mem::take(&mut call.logs);
                let _ = sender.send((answer.clone(), body.clone(), logs));
            }
        }
        self.unloaded = Some((answer, body));
    }

    fn answer(&mut self, answer: Answer, body: Vec<u8>) {
        let id = answer.request_id.as_ref();
        let Some(mut call) = id.and_then(|id| self.waiting.remove(id)) else { return };
        call.logs.append(&std::mem::take(&mut self.unknown));
        if let Some(sender) = call.answer {
            let _ = sender.send((answer, body, call.logs));
        }
    }
}

/// Hands out answers until no more come; returns the reason.
async fn follow(
    mut reader: ReadHalf<Stream>,
    printed: pipe::Receiver,
    (calls, changed): (&Mutex<Calls>, &Notify),
    longest: u64,
) -> Ended {
    let mut buffer = vec![0; PRINTED_BYTES];
    let (mut printed, mut old) = (Some(printed), Old::default());
    let mut is_new = true;
    loop {
        let receive = channel::receive_or_drop::<FromFunction>(&mut reader, longest);
        tokio::pin!(receive);
        let received = loop {
            tokio::select! {
                biased;
                () = changed.notified() => printed = lock(calls).fresh.take().or(printed),
                // Messages come before output in this select, because output may never end.
                received = &mut receive => break received,
                read = read(&mut printed, &mut buffer) => match read {
                    Ok(bytes @ 1..) => lock(calls).print(&buffer[..bytes]),
                    _ => printed = None,
                },
            }
        };
        let mut calls = lock(calls);
        printed = calls.fresh.take().or(printed);
        if let Some(printed) = &printed {
            read_printed(printed, &mut buffer, |bytes| calls.unknown.add(bytes));
        }
        match received {
            Ok(Some((said, body))) => {
                is_new = false;
                let has_left_others = matches!(&said, FromFunction::Answer(one) if one.others);
                calls.tell(said, body, longest);
                if has_left_others && let Some(printed) = printed.take() {
                    old.read(printed, calls.nobody.as_ref().map(Recording::of_nobody));
                    calls.is_without_pipe = true;
                }
            }
            Err(error) if channel::is_unread(&error) && is_new => return Ended::Unread,
            Err(error) if channel::is_unread(&error) => return Ended::Closed,
            Ok(None) => return Ended::Closed,
            Err(error) => return Ended::Broken(error.to_string()),
        }
    }
}

async fn read(printed: &mut Option<pipe::Receiver>, buffer: &mut [u8]) -> io::Result<usize> {
    match printed {
        Some(printed) => printed.read(buffer).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
