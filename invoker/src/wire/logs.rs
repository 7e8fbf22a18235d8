//! Logs of functions: their output, and the course of their invocations.

use serde::{Deserialize, Serialize};

/// A request for a function's logs. Answered by frames of [`super::FrameKind::Logs`], the oldest record
/// first, and then by [`super::Reply::Done`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsRequest {
    /// The function's name.
    pub function: String,
    /// True if records that come later follow, until the client goes or the function is removed.
    pub follow: bool,
    /// Greatest age of a record, in milliseconds.
    pub since_ms: Option<u64>,
    /// Most records of those that are there already, the last ones.
    pub lines: Option<u64>,
    /// The invocation whose records are wanted; all if absent.
    pub request: Option<String>,
}

/// One line of a function's logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Time, in UTC as RFC 3339 writes it, with six digits of a second: text sorts as time does.
    pub time: String,
    /// Number of the invocation.
    pub request: String,
    /// Speaker.
    pub source: LogSource,
    /// Text, without the end of the line.
    pub text: String,
}

/// Speaker of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// The function, on stdout or stderr.
    Function,
    /// Pipsqueak: an invocation's begin and end, its failure, lines that were not kept.
    Platform,
}
