//! One request and its answer on a function's channel, with the output meanwhile.

use std::fmt::Write;
use std::io;

use nix::fcntl::{FcntlArg, fcntl};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::unix::pipe;

use super::parts::Parts;
use crate::channel::{self, Body, Sent};
use crate::logs::Recording;
use crate::protocol::{Answer, Failure, FromFunction};

/// Most bytes of one invocation's output that are kept; the rest is read and dropped, so that a
/// function that prints much is not blocked.
const MAX_LOG_BYTES: usize = 256 << 10;

/// Most imported modules that are kept until they are taken.
const MOST_IMPORTED: usize = 10_000;

/// Bytes of output that are read at once.
pub const PRINTED_BYTES: usize = 4 << 10;

impl Answer {
    /// An answer to an invocation, with nothing else known.
    #[must_use]
    pub fn to(request_id: String) -> Self {
        Self { request_id: Some(request_id), ..Self::default() }
    }

    /// The failure of an invocation whose message was over the limit of `longest` bytes. The process
    /// can serve another invocation if it is `fit`.
    #[must_use]
    pub fn too_long(self, bytes: u64, longest: u64, fit: bool) -> Self {
        let message = format!(
            "Response payload size ({bytes} bytes) exceeded what one message takes ({longest} bytes with its \
             header)."
        );
        self.failed("Function.ResponseSizeTooLarge", message, fit)
    }

    /// The failure of an invocation because of a message of its process. The process can serve another
    /// invocation if it is `fit`.
    #[must_use]
    pub fn failed(self, error_type: &str, error_message: String, fit: bool) -> Self {
        let (error_type, stack_trace) = (error_type.to_owned(), Vec::new());
        let run_us = self.run_us;
        let (loading, order) = (false, false);
        let error = Failure { error_type, error_message, stack_trace, run_us, fit, loading, order };
        Self { error: Some(error), ..self }
    }
}

/// Modules that answers have named, within bounds.
#[derive(Debug, Default)]
pub struct Imported(Vec<String>);

impl Imported {
    /// Adds modules, unless there are already more than any program imports.
    pub fn note(&mut self, modules: Vec<String>) {
        if self.0.len() < MOST_IMPORTED {
            self.0.extend(modules);
        }
    }

    /// Takes the modules that were not taken yet.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0)
    }
}

/// Output of a function, within bounds.
#[derive(Debug, Default)]
pub struct Logs {
    bytes: Vec<u8>,
    dropped: usize,
    /// Recording that keeps the output on disk as well.
    recording: Option<Recording>,
}

impl Logs {
    /// Output that is recorded on disk, too.
    pub fn recorded(recording: Recording) -> Self {
        Self { recording: Some(recording), ..Self::default() }
    }

    /// A recording at the same place, for output that belongs to no invocation.
    pub fn of_nobody(&self) -> Option<Recording> {
        self.recording.as_ref().map(Recording::of_nobody)
    }

    /// Adds output, and keeps as much as there is room for.
    pub fn add(&mut self, bytes: &[u8]) {
        if let Some(recording) = &mut self.recording {
            recording.print(bytes);
        }
        let room = MAX_LOG_BYTES - self.bytes.len();
        let kept = bytes.len().min(room);
        self.bytes.extend_from_slice(&bytes[..kept]);
        self.dropped += bytes.len() - kept;
    }

    /// Counts output that is not kept.
    pub fn skip(&mut self, bytes: u64) {
        self.dropped = self.dropped.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Adds what other logs have kept.
    pub fn append(&mut self, other: &Self) {
        self.add(&other.bytes);
        self.dropped += other.dropped;
    }

    /// The output as text, and the recording. Bytes that are not UTF-8 are replaced; a last line tells
    /// the number of dropped bytes.
    pub fn finish(self) -> (String, Option<Recording>) {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.dropped > 0 {
            let _ = writeln!(text, "\n[{} more bytes were not kept]", self.dropped);
        }
        (text, self.recording)
    }
}

/// Sends `messages`, calls `sent`, and waits for one answer of at most `longest` bytes; a longer one is
/// a failure. Meanwhile reads `printed` and passes on `parts` of what is streamed.
///
/// `None` if the process closed the channel instead of answering. An error that [`channel::is_unread`]
/// recognises if it closed the channel before it had read the messages.
pub async fn exchange(
    function: &mut (impl AsyncRead + AsyncWrite + Unpin),
    printed: &mut pipe::Receiver,
    (messages, sent): (&[Vec<u8>], impl FnOnce() -> io::Result<()>),
    longest: u64,
    parts: Option<Parts<'_>>,
    logs: &mut Logs,
) -> io::Result<Option<(Answer, Vec<u8>)>> {
    let mut buffer = vec![0; PRINTED_BYTES];
    let talk = async {
        // No need to read the answer at the same time: a function answers after it has read the messages.
        let asked = Sent::of(channel::send(function, messages).await)?;
        sent()?;
        let answered = match parts {
            None => {
                let received = channel::receive_or_drop::<FromFunction>(function, longest).await?;
                received.map(|(said, body)| answer_of(said, body, longest)).transpose()?
            }
            Some(parts) => receive_streamed(function, longest, parts).await?,
        };
        if answered.is_none() {
            asked.unanswered()?;
        }
        Ok(answered)
    };
    tokio::pin!(talk);
    let mut open = true;
    let answer = loop {
        tokio::select! {
            biased;
            // The answer comes first in this select, because the output may never end.
            answer = &mut talk => break answer,
            read = printed.read(&mut buffer), if open => match read? {
                0 => open = false,
                bytes => logs.add(&buffer[..bytes]),
            },
        }
    };
    read_printed(printed, &mut buffer, |bytes| logs.add(bytes));
    answer
}

/// The answer of a process that serves one invocation at a time. Such a process is fit for another
/// invocation even if its answer is too long, because it has ended this one.
fn answer_of(said: FromFunction, body: Body, longest: u64) -> io::Result<(Answer, Vec<u8>)> {
    match (said, body) {
        (FromFunction::Answer(answer), Body::Whole(body)) => Ok((answer, body)),
        (FromFunction::Answer(answer), Body::Dropped(bytes)) => {
            Ok((answer.too_long(bytes, longest, true), Vec::new()))
        }
        (FromFunction::Printed { .. } | FromFunction::Said { .. }, _) => {
            Err(io::Error::other("a message where an answer belongs"))
        }
    }
}

/// Passes parts on until the answer arrives.
async fn receive_streamed(
    function: &mut (impl AsyncRead + AsyncWrite + Unpin),
    longest: u64,
    mut parts: Parts<'_>,
) -> io::Result<Option<(Answer, Vec<u8>)>> {
    let (mut reader, mut writer) = tokio::io::split(function);
    loop {
        let receive = channel::receive_or_drop::<FromFunction>(&mut reader, longest);
        tokio::pin!(receive);
        let received = loop {
            tokio::select! {
                biased;
                received = &mut receive => break received?,
                part = parts.next() => channel::ask(&mut writer, &[part?]).await?,
            }
        };
        let Some((said, body)) = received else { return Ok(None) };
        let answered = match (said, body) {
            (FromFunction::Said { part, .. }, Body::Whole(bytes)) => {
                if let Some(told) = parts.hear(part, bytes).await? {
                    channel::ask(&mut writer, &[told]).await?;
                }
                continue;
            }
            // The process goes on streaming, and nobody takes it, so it is not fit.
            (FromFunction::Said { request_id, .. }, Body::Dropped(bytes)) => {
                (Answer::to(request_id).too_long(bytes, longest, false), Vec::new())
            }
            (said, body) => answer_of(said, body, longest)?,
        };
        if let Some(told) = parts.end()? {
            channel::ask(&mut writer, &[told]).await?;
        }
        return Ok(Some(answered));
    }
}

/// Reads the output that was printed before now: at most what the pipe holds, because a process may go
/// on printing. Asks the kernel, because the runtime may not have heard of the output yet.
pub fn read_printed(printed: &pipe::Receiver, buffer: &mut [u8], mut take: impl FnMut(&[u8])) {
    let mut left = None;
    while let Ok(bytes @ 1..) = nix::unistd::read(printed, buffer) {
        take(&buffer[..bytes]);
        let before = left.unwrap_or_else(|| {
            let size = fcntl(printed, FcntlArg::F_GETPIPE_SZ).ok();
            size.and_then(|size| usize::try_from(size).ok()).unwrap_or(0)
        });
        let after = before.saturating_sub(bytes);
        if after == 0 {
            return;
        }
        left = Some(after);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::protocol::kind;

    /// A message as a process sends it.
    fn answer(header: &str, body: &str) -> Vec<u8> {
        let kind = char::from(kind::ANSWER);
        format!("{kind}{header}\n{body}").into_bytes()
    }

    #[tokio::test]
    async fn an_answer_comes_although_somebody_prints_on() {
        let (mut near, mut far) = tokio::net::UnixStream::pair().unwrap();
        let (printed, mut print) = io::pipe().unwrap();
        let mut printed = pipe::Receiver::from_owned_fd(printed.into()).unwrap();
        // Ends once the pipe has no reader.
        let printing =
            std::thread::spawn(move || while print.write_all(&[b'x'; 1 << 12]).is_ok() {});
        let answer = answer(r#"{"run_us": 1e300}"#, "1");
        let answering = tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            channel::send(&mut far, &[answer]).await.unwrap();
            far
        });
        let mut logs = Logs::default();
        let answered = exchange(&mut near, &mut printed, (&[], || Ok(())), 100, None, &mut logs)
            .await
            .unwrap();
        assert_eq!(answered.unwrap().1, b"1");
        assert!(logs.finish().0.ends_with("more bytes were not kept]\n"));
        drop((answering, printed));
        printing.join().unwrap();
    }

    #[tokio::test]
    async fn an_answer_comes_with_what_was_printed_and_what_was_imported() {
        let (mut near, mut far) = tokio::net::UnixStream::pair().unwrap();
        let (mut print, mut printed) = pipe::pipe().unwrap();
        let answer = answer(r#"{"run_us": 7, "imported": ["six", "idna.codec"]}"#, "1");
        tokio::io::AsyncWriteExt::write_all(&mut print, b"hello").await.unwrap();
        channel::send(&mut far, &[answer]).await.unwrap();
        let mut logs = Logs::default();
        let answered = exchange(&mut near, &mut printed, (&[], || Ok(())), 100, None, &mut logs)
            .await
            .unwrap();
        let (answer, body) = answered.unwrap();
        assert_eq!(
            (answer.run_us.to_string(), answer.imported.join(" ").as_str()),
            ("7".to_owned(), "six idna.codec")
        );
        assert_eq!((body.as_slice(), logs.finish().0.as_str()), (&b"1"[..], "hello"));
    }
}
