//! A conversation of questions and answers: lines of JSON each way, over a socket.
//!
//! Questions are numbered, and one is asked at a time. An answer has its question's number. What comes
//! late, comes to nobody: the first question that is not answered in time, or not as it should be, ends
//! the conversation for all. Whoever asks then replaces the other side.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sync::{Mutex, MutexGuard};

/// Longest line, in bytes.
const LONGEST: usize = 64 << 20;

/// Reason why a question has no answer. None will have one later.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The answer did not come in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The other side has closed the socket.
    #[error("the other side has ended")]
    Ended,
    /// The answer is one to another question.
    #[error("an answer to question {answered} where {asked} was asked")]
    Another {
        /// The question's number.
        asked: u64,
        /// The number that the answer has.
        answered: u64,
    },
    /// The socket.
    #[error("talking: {0}")]
    Socket(#[from] io::Error),
    /// The answer cannot be read, or the question not be written.
    #[error("an answer that cannot be understood: {0}")]
    Garbled(#[from] serde_json::Error),
    /// An earlier question has ended the conversation.
    #[error("an earlier question was not answered")]
    Over,
}

impl From<AskError> for io::Error {
    fn from(error: AskError) -> Self {
        Self::other(error)
    }
}

/// A question or an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered<T> {
    /// The number of the question; 0 for what is said unasked, at the beginning.
    pub number: u64,
    /// Question or answer.
    pub body: T,
}

/// The side that asks.
#[derive(Debug)]
pub struct Conversation(Mutex<State>);

#[derive(Debug)]
struct State {
    line: Responder,
    asked: u64,
    is_over: bool,
}

impl Conversation {
    /// Waits for what the other side says first.
    pub fn begin<T: DeserializeOwned>(
        socket: UnixStream,
        patience: Duration,
    ) -> Result<(Self, T), AskError> {
        let mut line = Responder::new(socket);
        let first = hear(&mut line, 0, patience)?;
        Ok((Self(Mutex::new(State { line, asked: 0, is_over: false })), first))
    }

    /// Asks, after all who ask already. Blocks until there is an answer, for no longer than `patience`
    /// from its turn on.
    pub fn ask<T: DeserializeOwned>(
        &self,
        question: &impl Serialize,
        patience: Duration,
    ) -> Result<T, AskError> {
        let mut state = self.state();
        let number = say(&mut state, question, patience)?;
        let answer = hear(&mut state.line, number, patience);
        state.is_over = answer.is_err();
        answer
    }

    /// Says the last word, and gives a copy of the socket: what comes on it is no longer of this
    /// conversation.
    pub fn end_with(
        &self,
        word: &impl Serialize,
        patience: Duration,
    ) -> Result<UnixStream, AskError> {
        let mut state = self.state();
        say(&mut state, word, patience)?;
        state.is_over = true;
        Ok(state.line.reader.get_ref().try_clone()?)
    }

    /// Waits until the other side is gone, with all copies of its end, but no longer than `patience`.
    pub fn await_end(&self, patience: Duration) {
        let mut state = self.state();
        state.is_over = true;
        let until = Instant::now() + patience;
        // Whatever is said still, nobody wants to know.
        while matches!(state.line.hear_until(until), Ok(Some(_))) {}
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

/// Says something; its number.
fn say(state: &mut State, word: &impl Serialize, patience: Duration) -> Result<u64, AskError> {
    if state.is_over {
        return Err(AskError::Over);
    }
    state.asked += 1;
    // Until it has been said whole, half of it may be on its way.
    state.is_over = true;
    let numbered = Numbered { number: state.asked, body: word };
    state.line.reader.get_ref().set_write_timeout(Some(patience))?;
    match state.line.say(&numbered) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(AskError::Late(patience)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(AskError::Ended),
        Err(error) => Err(error.into()),
        Ok(()) => {
            state.is_over = false;
            Ok(state.asked)
        }
    }
}

fn hear<T: DeserializeOwned>(
    line: &mut Responder,
    number: u64,
    patience: Duration,
) -> Result<T, AskError> {
    let text = match line.hear_until(Instant::now() + patience) {
        Ok(text) => text.ok_or(AskError::Ended)?,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(AskError::Late(patience));
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            return Err(AskError::Ended);
        }
        Err(error) => return Err(error.into()),
    };
    let answer: Numbered<T> = serde_json::from_slice(&text)?;
    if answer.number == number {
        return Ok(answer.body);
    }
    Err(AskError::Another { asked: number, answered: answer.number })
}

/// The side that answers.
#[derive(Debug)]
pub struct Responder {
    reader: BufReader<UnixStream>,
}

impl Responder {
    /// Talks over a socket.
    pub fn new(socket: UnixStream) -> Self {
        Self { reader: BufReader::new(socket) }
    }

    /// Socket of the conversation.
    pub fn socket(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    /// Says something.
    pub fn say(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(message)?;
        text.push(b'\n');
        self.reader.get_mut().write_all(&text)
    }

    /// Hears something; `None` if the other side is gone.
    pub fn hear<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut text = String::new();
        if self.reader.read_line(&mut text)? == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text)?))
    }

    /// The next line. `WouldBlock` where it is not there whole in time.
    fn hear_until(&mut self, until: Instant) -> io::Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // Zero would be for ever.
            let left = left.max(Duration::from_millis(1));
            self.reader.get_ref().set_read_timeout(Some(left))?;
            let available = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(available.len());
            text.extend_from_slice(&available[..taken]);
            self.reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(Some(text));
            }
            if text.len() > LONGEST {
                return Err(io::Error::other("a line that does not end"));
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }
}

#[cfg(test)]
mod tests;
