//! How one invocation ended, and what it took.

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
    /// Its packages in the mount.
    Ssd,
    /// Nothing.
    Cold,
}

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// With a result: exit code 0.
    Done,
    /// The function failed: exit code 1.
    Failed,
    /// Ended for a limit (timeout, memory): exit code 5.
    Refused,
}

/// One invocation, as `invoke --json` prints it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Invocation {
    /// What the handler returned; absent where it failed.
    pub result: Option<Box<RawValue>>,
    /// Why it failed; absent where it did not.
    pub error: Option<FunctionError>,
    /// How it ended.
    pub outcome: Outcome,
    /// The best tier that this start found.
    pub tier: Tier,
    /// Time in the queue, in microseconds.
    pub queue_us: u64,
    /// From the end of the queue to the handler's first line, the function's own import included,
    /// and back from the handler's return to the reply, in microseconds.
    pub start_us: u64,
    /// Time inside the handler, in microseconds.
    pub run_us: u64,
    /// From the request's arrival to its reply, in microseconds.
    pub total_us: u64,
    /// What the function wrote to stdout and stderr, as written.
    pub logs: String,
    /// Identifies this invocation.
    pub request_id: String,
}

/// Why a function failed, in the form that AWS Lambda gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionError {
    /// The exception's class, or `Runtime.…` where the runtime itself tells.
    pub error_type: String,
    /// The exception's message.
    pub error_message: String,
    /// The traceback's lines.
    pub stack_trace: Vec<String>,
}
