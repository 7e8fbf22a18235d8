//! Streaming while a handler runs: its result to the client, and a body to the handler, part by part.
//!
//! Each side sends only what the other has room for. The function has at most [`WINDOW`] parts on their
//! way, and is told of each part that the client's connection has taken. The function gets a part of
//! the body when it asks for one.

use std::future::pending;
use std::io;

use tokio::sync::mpsc;

use crate::channel;
use crate::protocol::{Said, ToFunction, Told};

/// Most parts of a result that a function may send before it is told that the first was taken. Same as
/// in the runtime's `streaming`.
pub const WINDOW: usize = 8;
/// Longest part of a result, in bytes. Same as in the runtime's `streaming`.
pub const PART_BYTES: u64 = 64 << 10;

/// A client's side of an invocation that is streamed.
#[derive(Debug)]
pub struct Streams {
    /// Channel that takes the result.
    pub result: mpsc::Sender<Given>,
    /// Channel that gives the body; absent if there is none. An empty part is the body's end. If the
    /// channel closes before that, the client has gone.
    pub body: Option<mpsc::Receiver<Vec<u8>>>,
}

/// Piece of a result for the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Given {
    /// Head of the result: JSON.
    Head(Vec<u8>),
    /// Bytes of the result.
    Part(Vec<u8>),
}

/// The streams of one invocation.
#[derive(Debug)]
pub struct Parts<'a> {
    request_id: &'a str,
    streams: &'a mut Streams,
    /// True if the function waits for a part of the body.
    is_asked: bool,
    /// True if no more of the body comes.
    has_ended: bool,
}

impl<'a> Parts<'a> {
    /// Streams of the invocation `request_id`.
    pub fn new(request_id: &'a str, streams: &'a mut Streams) -> Self {
        Self { request_id, has_ended: streams.body.is_none(), streams, is_asked: false }
    }

    /// Takes a message of the function; returns the message to send back, if there is one. Waits until
    /// the client has room.
    pub async fn hear(&mut self, said: Said, bytes: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
        let given = match said {
            Said::Head => Given::Head(bytes),
            Said::Result => Given::Part(bytes),
            Said::More => {
                self.is_asked = true;
                return Ok(None);
            }
        };
        let told = match self.streams.result.send(given).await {
            Ok(()) => Told::Taken,
            Err(_) => Told::Gone,
        };
        self.compose(told, b"").map(Some)
    }

    /// Message with the part that the function has asked for. Waits for the part.
    pub async fn next(&mut self) -> io::Result<Vec<u8>> {
        if !self.is_asked {
            return pending().await;
        }
        let part = match &mut self.streams.body {
            Some(body) if !self.has_ended => body.recv().await,
            _ => Some(Vec::new()),
        };
        self.is_asked = false;
        self.has_ended = part.as_ref().is_none_or(Vec::is_empty);
        match part {
            Some(part) => self.compose(Told::Body, &part),
            None => self.compose(Told::Gone, b""),
        }
    }

    /// Message for a function that has answered and still waits for a part of the body; `None` if it
    /// does not wait.
    pub fn end(self) -> io::Result<Option<Vec<u8>>> {
        self.is_asked.then(|| self.compose(Told::Body, b"")).transpose()
    }

    fn compose(&self, part: Told, body: &[u8]) -> io::Result<Vec<u8>> {
        channel::compose(&ToFunction::Told { part, request_id: self.request_id }, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(said: Option<Vec<u8>>) -> String {
        said.map_or_else(String::new, |said| String::from_utf8(said).unwrap())
    }

    fn told(part: &str, body: &str) -> String {
        let kind = char::from(crate::protocol::kind::TOLD);
        format!("{kind}{{\"part\":\"{part}\",\"request_id\":\"a\"}}\n{body}")
    }

    #[tokio::test]
    async fn parts_are_passed_on_and_told_as_taken_until_the_client_goes() {
        let (result, mut given) = mpsc::channel(2);
        let mut streams = Streams { result, body: None };
        let mut parts = Parts::new("a", &mut streams);
        for (said, expected) in
            [(Said::Head, Given::Head(b"x".to_vec())), (Said::Result, Given::Part(b"x".to_vec()))]
        {
            let said = parts.hear(said, b"x".to_vec()).await.unwrap();
            assert_eq!(text(said), told("taken", ""));
            assert_eq!(given.recv().await.unwrap(), expected);
        }
        drop(given);
        let said = parts.hear(Said::Result, Vec::new()).await.unwrap();
        assert_eq!(text(said), told("gone", ""));
    }

    #[tokio::test]
    async fn a_body_comes_when_it_is_asked_for_and_ends_once() {
        let (sender, body) = mpsc::channel(2);
        let (result, _given) = mpsc::channel(1);
        let mut streams = Streams { result, body: Some(body) };
        let mut parts = Parts::new("a", &mut streams);
        sender.send(b"1".to_vec()).await.unwrap();
        sender.send(Vec::new()).await.unwrap();
        for expected in ["1", "", ""] {
            assert_eq!(text(parts.hear(Said::More, Vec::new()).await.unwrap()), "");
            assert_eq!(text(Some(parts.next().await.unwrap())), told("body", expected));
        }
        assert_eq!(text(parts.end().unwrap()), "");
    }

    #[tokio::test]
    async fn who_waits_for_a_body_is_told_that_the_client_went_or_that_it_is_over() {
        for is_cut in [true, false] {
            let (sender, body) = mpsc::channel(1);
            let (result, _given) = mpsc::channel(1);
            let mut streams = Streams { result, body: Some(body) };
            let mut parts = Parts::new("a", &mut streams);
            parts.hear(Said::More, Vec::new()).await.unwrap();
            let said = if is_cut {
                drop(sender);
                Some(parts.next().await.unwrap())
            } else {
                parts.end().unwrap()
            };
            assert_eq!(text(said), told(if is_cut { "gone" } else { "body" }, ""));
        }
    }
}
