//! The outcome of one invocation.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The best tier that a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The function's own sandbox, frozen.
    Paused,
    /// A zygote with its packages imported.
    Zygote,
    /// The function's packages in the mount.
    Ssd,
    /// Nothing.
    Cold,
}

/// End of an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A result: exit code 0.
    Done,
    /// The function failed: exit code 1.
    Failed,
    /// A limit was reached (timeout, memory): exit code 5.
    Refused,
}

/// One invocation, as `invoke --json` prints it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Invocation {
    /// Result of the handler; absent if the function failed.
    pub result: Option<Box<RawValue>>,
    /// Error of the function; absent if it did not fail.
    pub error: Option<FunctionError>,
    /// End of the invocation.
    pub outcome: Outcome,
    /// The best tier that this start found.
    pub tier: Tier,
    /// Time in the queue, in microseconds.
    pub queue_us: u64,
    /// Time from the end of the queue to the handler's first line, the function's own import included,
    /// and from the handler's return to the reply, in microseconds.
    pub start_us: u64,
    /// Time inside the handler, in microseconds.
    pub run_us: u64,
    /// Time from the request's arrival to its reply, in microseconds.
    pub total_us: u64,
    /// Output of the function on stdout and stderr, as written.
    pub logs: String,
    /// Number of this invocation.
    pub request_id: String,
}

/// Error of a function, in the form that AWS Lambda gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionError {
    /// The exception's class, or `Runtime.…` if the runtime itself tells.
    pub error_type: String,
    /// The exception's message.
    pub error_message: String,
    /// The traceback's lines.
    pub stack_trace: Vec<String>,
}
