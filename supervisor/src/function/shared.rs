//! A process that serves several invocations at once: answers are told apart by the invocation they
//! name, and so is what is printed, as far as the process can tell.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, OwnedMutexGuard, mpsc, oneshot};

use super::exchange::{Answer, Imported, Logs, PRINTED_BYTES, read_printed};
use super::parts::{Parts, Said, WINDOW};
use super::printed::{self, Old};
use crate::channel;
use crate::logs::Recording;
use crate::stream::Stream;

/// An answer's header and body, and what was printed for it.
type Answered = (Answer, Vec<u8>, Logs);

/// The channel of such a process.
#[derive(Debug)]
pub struct Shared {
    writer: Arc<tokio::sync::Mutex<WriteHalf<Stream>>>,
    /// The same socket, to send a pipe along; used by whoever has the writer.
    socket: OwnedFd,
    calls: Arc<Mutex<Calls>>,
    /// Told when there is another pipe.
    changed: Arc<Notify>,
}

/// Who waits for an answer.
#[derive(Debug, Default)]
struct Calls {
    waiting: HashMap<String, Waiting>,
    /// Modules that answers have named. The first to be sent names them, whoever that is for.
    imported: Imported,
    /// What nobody knows who has printed it; told with the next answer.
    unknown: Logs,
    /// Takes what belongs to none of those who wait.
    nobody: Option<Recording>,
    /// Whether the process is to be given another pipe to print to, and that pipe.
    is_without_pipe: bool,
    fresh: Option<pipe::Receiver>,
    /// Whether an answer has come: only the first of all may name no invocation.
    has_answered: bool,
    /// Why no answer comes any more, once that is so.
    ended: Option<Ended>,
}

#[derive(Debug, Clone)]
enum Ended {
    Closed,
    Broken(String),
}

#[derive(Debug)]
struct Waiting {
    answer: Option<oneshot::Sender<Answered>>,
    /// Takes what its process says of streams.
    said: Option<mpsc::Sender<(Said, Vec<u8>)>>,
    logs: Logs,
}

/// One call, until it is dropped.
#[derive(Debug)]
pub struct Call<'a> {
    shared: &'a Shared,
    id: &'a str,
    answer: oneshot::Receiver<Answered>,
    said: Option<mpsc::Receiver<(Said, Vec<u8>)>>,
}

impl Shared {
    /// Follows a channel and what is printed. An answer has at most `longest` bytes.
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
            // Those who wait see that nobody answers, and what was said last.
            let Calls { waiting, unknown, .. } = &mut *calls;
            for call in waiting.values_mut() {
                call.logs.append(unknown);
                call.answer = None;
            }
        });
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        Ok(Self { writer, socket, calls, changed })
    }

    /// Whether its process still holds the channel.
    pub fn is_open(&self) -> bool {
        lock(&self.calls).ended.is_none()
    }

    /// Modules that answers have named, and that nobody has taken yet.
    pub fn take_imported(&self) -> Vec<String> {
        lock(&self.calls).imported.take()
    }

    /// Begins to wait for the answer to the invocation `id`, whose output is added to `logs`, and for
    /// parts where it `is_streamed`.
    pub fn call<'a>(&'a self, id: &'a str, logs: Logs, is_streamed: bool) -> Call<'a> {
        let (answer, receiver) = oneshot::channel();
        // Beside its window a process asks for one part of the body at a time, and says one head.
        let (said, heard) = is_streamed.then(|| mpsc::channel(WINDOW + 2)).unzip();
        let mut calls = lock(&self.calls);
        calls.nobody = logs.of_nobody();
        if calls.ended.is_none() {
            let waiting = Waiting { answer: Some(answer), said, logs };
            calls.waiting.insert(id.to_owned(), waiting);
        }
        Call { shared: self, id, answer: receiver, said: heard }
    }
}

impl Shared {
    /// Gives the process another pipe to print to, where what it has left has the one before.
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
        Sending::begin(self).await.send(&[told]).await
    }
}

impl Call<'_> {
    /// Sends the invocation, and `first` what it writes ahead of the first of all; passes on `parts`.
    /// `None` where the process closed the channel instead of answering.
    pub async fn exchange(
        &mut self,
        first: impl FnOnce() -> io::Result<Option<Vec<u8>>>,
        message: Vec<u8>,
        parts: Option<Parts<'_>>,
    ) -> io::Result<Option<Answered>> {
        {
            let sending = Sending::begin(self.shared).await;
            self.shared.renew_pipe()?;
            let messages: Vec<_> = first()?.into_iter().chain([message]).collect();
            sending.send(&messages).await?;
        }
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
                _ => Ok(None),
            },
        }
    }

    /// What it has printed so far without an answer.
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

/// Messages on their way. A call that is given up meanwhile does not cut them off: what comes next in
/// the channel would be taken for the rest of them.
struct Sending {
    writer: Option<OwnedMutexGuard<WriteHalf<Stream>>>,
    frames: Vec<u8>,
    sent: usize,
}

impl Sending {
    async fn begin(shared: &Shared) -> Self {
        let writer = shared.writer.clone().lock_owned().await;
        Self { writer: Some(writer), frames: Vec::new(), sent: 0 }
    }

    async fn send(mut self, messages: &[Vec<u8>]) -> io::Result<()> {
        self.frames = channel::frames(messages)?;
        channel::unless_ended(self.proceed().await)
    }

    async fn proceed(&mut self) -> io::Result<()> {
        while let Some(writer) = &mut self.writer
            && self.sent < self.frames.len()
        {
            match writer.write(&self.frames[self.sent..]).await {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.sent += bytes,
                Err(error) => {
                    self.sent = self.frames.len();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if (1..self.frames.len()).contains(&self.sent)
            && let Some(mut writer) = self.writer.take()
        {
            let rest = self.frames.split_off(self.sent);
            // It ends with its process at the latest. That nobody reads it is told to those who wait.
            tokio::spawn(async move { writer.write_all(&rest).await });
        }
    }
}

impl Calls {
    /// Keeps what nobody knows who has printed it.
    fn print(&mut self, bytes: &[u8]) {
        match &mut self.nobody {
            Some(nobody) if self.waiting.is_empty() => nobody.print(bytes),
            _ => self.unknown.add(bytes),
        }
    }

    fn tell(&mut self, mut answer: Answer, body: Vec<u8>) -> io::Result<()> {
        self.imported.note(std::mem::take(&mut answer.imported));
        let is_first = !std::mem::replace(&mut self.has_answered, true);
        let Some(id) = &answer.request_id else {
            if !is_first {
                return Err(io::Error::other("an answer to what was not asked"));
            }
            // The handler could not be loaded; that is nobody's in particular, and so everybody's.
            for call in self.waiting.values_mut() {
                if let Some(sender) = call.answer.take() {
                    let logs = std::mem::take(&mut call.logs);
                    let _ = sender.send((answer.clone(), body.clone(), logs));
                }
            }
            return Ok(());
        };
        if let Some(said) = answer.part {
            let waiting = self.waiting.get(id).and_then(|call| call.said.as_ref());
            // Whose client has gone is waited for no more.
            return match waiting.map(|waiting| waiting.try_send((said, body))) {
                Some(Err(mpsc::error::TrySendError::Full(_))) => {
                    Err(io::Error::other("more parts at once than were agreed on"))
                }
                _ => Ok(()),
            };
        }
        if answer.printed {
            if let Some(call) = self.waiting.get_mut(id) {
                call.logs.add(&body);
            }
        } else if let Some(mut call) = self.waiting.remove(id) {
            call.logs.append(&std::mem::take(&mut self.unknown));
            if let Some(sender) = call.answer {
                let _ = sender.send((answer, body, call.logs));
            }
        }
        Ok(())
    }
}

/// Hands out answers until there are none any more; why.
async fn follow(
    mut reader: ReadHalf<Stream>,
    printed: pipe::Receiver,
    (calls, changed): (&Mutex<Calls>, &Notify),
    longest: u64,
) -> Ended {
    let mut buffer = vec![0; PRINTED_BYTES];
    let (mut printed, mut old) = (Some(printed), Old::default());
    loop {
        let receive = channel::receive::<Answer>(&mut reader, longest);
        tokio::pin!(receive);
        let received = loop {
            tokio::select! {
                biased;
                () = changed.notified() => printed = lock(calls).fresh.take().or(printed),
                // Ahead of what is printed, of which there may be no end.
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
            Ok(Some((answer, body))) => {
                let has_left_others = answer.others;
                if let Err(error) = calls.tell(answer, body) {
                    return Ended::Broken(error.to_string());
                }
                if has_left_others && let Some(printed) = printed.take() {
                    old.read(printed, calls.nobody.as_ref().map(Recording::of_nobody));
                    calls.is_without_pipe = true;
                }
            }
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

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use serde_json::json;
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn tell(far: &mut Stream, header: serde_json::Value, body: &[u8]) {
        channel::send(far, &[channel::compose(&header, body).unwrap()]).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_given_up_half_way_is_sent_whole() {
        let (near, far) = UnixStream::pair().unwrap();
        let (near, mut far) = (Stream::new(near).unwrap(), Stream::new(far).unwrap());
        let (_print, printed) = pipe::pipe().unwrap();
        let shared = Shared::new(near, printed, 1000).unwrap();
        let large = channel::compose(&"large", &vec![b'x'; 4 << 20]).unwrap();
        let mut first = shared.call("a", Logs::default(), false);
        let patience = std::time::Duration::from_millis(20);
        let given_up = first.exchange(|| Ok(None), large.clone(), None);
        assert!(tokio::time::timeout(patience, given_up).await.is_err());
        let mut second = shared.call("b", Logs::default(), false);
        let small = channel::compose(&"small", b"").unwrap();
        let asked = second.exchange(|| Ok(None), small, None);
        let answering = async {
            for length in [large.len() - "\"large\"\n".len(), 0] {
                let (_, body): (String, _) =
                    channel::receive(&mut far, 8 << 20).await.unwrap().unwrap();
                assert_eq!(body.len(), length);
            }
            tell(&mut far, json!({ "request_id": "b" }), b"2").await;
        };
        let (answered, ()) = tokio::join!(asked, answering);
        assert_eq!(answered.unwrap().unwrap().1, b"2");
    }

    #[tokio::test]
    async fn answers_and_what_was_printed_find_their_calls_in_any_order() {
        let (near, far) = UnixStream::pair().unwrap();
        let (near, mut far) = (Stream::new(near).unwrap(), Stream::new(far).unwrap());
        let (mut print, printed) = pipe::pipe().unwrap();
        let shared = Shared::new(near, printed, 1000).unwrap();
        let mut calls = ["a", "b", "c"].map(|id| shared.call(id, Logs::default(), false));
        print.write_all(b"unknown\n").await.unwrap();
        tell(&mut far, json!({ "request_id": "a", "printed": true }), b"of a\n").await;
        tell(&mut far, json!({ "request_id": "b" }), b"2").await;
        tell(&mut far, json!({ "request_id": "nobody" }), b"0").await;
        tell(&mut far, json!({ "request_id": "a" }), b"1").await;
        let mut told = Vec::new();
        for call in &mut calls[..2] {
            let answered = call.exchange(|| Ok(None), Vec::new(), None).await.unwrap().unwrap();
            let (_, body, logs) = answered;
            told.push((logs.finish().0, String::from_utf8(body).unwrap()));
        }
        let expected = [("of a\n", "1"), ("unknown\n", "2")];
        assert_eq!(told, expected.map(|(logs, body)| (logs.to_owned(), body.to_owned())));
        assert!(shared.is_open());
        drop(far);
        let ended = calls[2].exchange(|| Ok(None), Vec::new(), None).await.unwrap();
        assert!(ended.is_none() && !shared.is_open());
        let mut late = shared.call("d", Logs::default(), false);
        assert!(late.exchange(|| Ok(None), Vec::new(), None).await.unwrap().is_none());
    }
}
