//! What the supervisor tells its `pipsqueak-fs` and asks of it: a line of JSON each way.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::id::ObjectId;

/// A request of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Show what is published now, and let the kernel forget what it knows of these names.
    Publish(Vec<String>),
    /// How many requests the kernel has made.
    Counters,
    /// Which objects were found damaged since this was asked last.
    Suspects,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tell {
    /// The mount is served; said once, unasked.
    Serving,
    /// Done.
    Done,
    /// Requests by operation.
    Counters(BTreeMap<String, u64>),
    /// Numbers of objects that were found damaged.
    Suspects(Vec<ObjectId>),
    /// Why it could not be done.
    Failed(String),
}

/// One end of the conversation.
#[derive(Debug)]
pub struct Line {
    reader: BufReader<UnixStream>,
}

impl Line {
    /// Talks over a socket.
    pub fn new(socket: UnixStream) -> Self {
        Self { reader: BufReader::new(socket) }
    }

    /// Says something.
    pub fn say(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(message)?;
        text.push(b'\n');
        self.reader.get_mut().write_all(&text)
    }

    /// Waits until the other end is gone, with all copies of it, but no longer than `patience`.
    pub fn await_end(&mut self, patience: Duration) -> io::Result<()> {
        self.reader.get_ref().set_read_timeout(Some(patience))?;
        let until = Instant::now() + patience;
        while let Ok(Some(_)) = self.hear::<serde_json::Value>() {
            if Instant::now() > until {
                break;
            }
        }
        Ok(())
    }

    /// Hears something; `None` where the other end is gone.
    pub fn hear<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut text = String::new();
        if self.reader.read_line(&mut text)? == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text)?))
    }
}
