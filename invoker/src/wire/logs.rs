//! What functions have printed, and what is told of their invocations.

use serde::{Deserialize, Serialize};

/// What of a function's logs is wanted. Answered by frames of [`super::FrameKind::Logs`], the oldest
/// record first, and then by [`super::Reply::Done`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsRequest {
    /// The function's name.
    pub function: String,
    /// Whether to go on with what comes, until the client goes or the function is removed.
    pub follow: bool,
    /// Only what is not older, in milliseconds.
    pub since_ms: Option<u64>,
    /// Only so many of the last that are there already.
    pub lines: Option<u64>,
    /// Only what belongs to this invocation.
    pub request: Option<String>,
}

/// One line of a function's logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When, in UTC as RFC 3339 writes it, with six digits of a second: text sorts as time does.
    pub time: String,
    /// Which invocation.
    pub request: String,
    /// Who says it.
    pub source: LogSource,
    /// What, without the end of the line.
    pub text: String,
}

/// Who says a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// The function, on stdout or stderr.
    Function,
    /// Pipsqueak: where an invocation begins and ends, why it failed, what was not kept.
    Platform,
}
