//! The end of an invocation in its process, by what the process has answered or done.

use std::io;
use std::time::Duration;

use pipsqueak::wire::{FunctionError, Outcome};
use serde_json::value::RawValue;

use super::answered::{Reached, told, within};
use crate::protocol::Answer;

/// What came of asking a process.
pub(super) enum Exchanged {
    /// The process has answered.
    Answered(Answer, Vec<u8>),
    /// The process has closed the channel instead.
    Closed,
    /// The channel or the sandbox is of no use any more.
    Broken(io::Error),
    /// No answer has come within the timeout.
    Late,
}

/// The end of an invocation.
pub(super) struct Ended {
    pub result: Result<Box<RawValue>, FunctionError>,
    pub outcome: Outcome,
    pub run_us: u64,
    /// True if the process can serve another invocation.
    pub fit: bool,
    pub reached: Reached,
    pub unlike: Option<String>,
}

impl Ended {
    /// One that has failed with its process.
    pub fn failed(error: FunctionError, outcome: Outcome) -> Self {
        let reached = Reached::Handler;
        Self { result: Err(error), outcome, run_us: 0, fit: false, reached, unlike: None }
    }

    /// One that was answered, after the time that it `took`.
    pub fn answered(answer: Answer, body: &[u8], took: Duration) -> Self {
        let unlike = answer.unlike;
        let Some(failure) = answer.error else {
            return match serde_json::from_slice(body) {
                Ok(result) => Self {
                    result: Ok(result),
                    outcome: Outcome::Done,
                    run_us: within(took, answer.run_us),
                    fit: true,
                    reached: Reached::Handler,
                    unlike,
                },
                Err(error) => {
                    let message = format!("the answer is not JSON: {error}");
                    let error = told("Runtime.MarshalError", message);
                    Self { unlike, ..Self::failed(error, Outcome::Failed) }
                }
            };
        };
        let reached = match (failure.loading, failure.order) {
            (false, _) => Reached::Handler,
            (true, true) => Reached::Order,
            (true, false) => Reached::Load,
        };
        let error = FunctionError {
            error_type: failure.error_type,
            error_message: failure.error_message,
            stack_trace: failure.stack_trace,
        };
        let (run_us, fit) = (within(took, failure.run_us), failure.fit);
        Self { run_us, fit, reached, unlike, ..Self::failed(error, Outcome::Failed) }
    }
}
