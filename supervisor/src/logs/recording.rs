//! The recording of one invocation: its output becomes lines, within a bound.

use std::mem;
use std::sync::Arc;

use super::Log;
use super::entry::{Content, Report};
use super::queue::Queue;

/// Most bytes of one invocation's output that are kept.
pub(super) const MAX_PRINTED: usize = 256 << 10;
/// Longest line, in bytes. A longer one is cut into several.
const MAX_LINE: usize = 16 << 10;

/// Recording of an invocation. Its methods never wait.
#[derive(Debug)]
pub struct Recording {
    log: Arc<Log>,
    queue: Arc<Queue>,
    request: Arc<str>,
    /// Output that is not a whole line yet.
    line: Vec<u8>,
    /// Bytes of output that may still come.
    left: usize,
    dropped: u64,
}

impl Recording {
    pub(super) fn begin(log: Arc<Log>, queue: Arc<Queue>, version: u64, request: &str) -> Self {
        let request = Arc::from(request);
        queue.put(&log, &request, Content::Start(version));
        Self { log, queue, request, line: Vec::new(), left: MAX_PRINTED, dropped: 0 }
    }

    /// A recording in the same log for output that belongs to no invocation.
    #[must_use]
    pub fn of_nobody(&self) -> Self {
        let (log, queue) = (self.log.clone(), self.queue.clone());
        Self { log, queue, request: Arc::from(""), line: Vec::new(), left: MAX_PRINTED, dropped: 0 }
    }

    /// Takes output.
    pub fn print(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(self.left);
        self.left -= kept;
        self.dropped += (bytes.len() - kept) as u64;
        for mut piece in bytes[..kept].split_inclusive(|byte| *byte == b'\n') {
            while self.line.len() + piece.len() > MAX_LINE {
                let (head, tail) = piece.split_at(MAX_LINE - self.line.len());
                self.line.extend_from_slice(head);
                self.put_line();
                piece = tail;
            }
            self.line.extend_from_slice(piece);
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
                self.put_line();
            }
        }
    }

    /// Ends the recording with the invocation's report.
    pub fn end(mut self, report: Report) {
        self.finish();
        self.put(Content::End(Box::new(report)));
    }

    fn finish(&mut self) {
        if !self.line.is_empty() {
            self.put_line();
        }
        let dropped = mem::take(&mut self.dropped);
        if dropped > 0 {
            self.put(Content::Dropped(dropped));
        }
    }

    fn put_line(&mut self) {
        let line = mem::take(&mut self.line);
        let bytes = line.len() as u64;
        if !self.put(Content::Line(line)) {
            self.dropped += bytes;
        }
    }

    fn put(&self, content: Content) -> bool {
        self.queue.put(&self.log, &self.request, content)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.finish();
    }
}
