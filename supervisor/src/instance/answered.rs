//! The end of an invocation.

use std::time::Duration;

use pipsqueak::wire::{FunctionError, Outcome};
use serde_json::value::RawValue;

use crate::logs::Recording;

/// End of an invocation, with all that came of it.
#[derive(Debug)]
pub struct Answered {
    /// Result of the handler, or the failure.
    pub result: Result<Box<RawValue>, FunctionError>,
    /// Kind of the end.
    pub outcome: Outcome,
    /// Time in the handler, in microseconds.
    pub run_us: u64,
    /// Output of the invocation.
    pub logs: String,
    /// Recording of the same output, which the caller must end.
    pub recording: Option<Recording>,
    /// Stage that the invocation reached.
    pub reached: Reached,
    /// Reason that the version gets interpreters of its own from now on; `None` if it does not.
    pub unlike: Option<String>,
}

/// Stage that an invocation reached in its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// The handler ran, as far as is known.
    Handler,
    /// The handler was not loaded: nothing of it has run.
    Load,
    /// The handler was not loaded, because the function's own code must run before something that a
    /// zygote had already imported.
    Order,
    /// The process ended before it had read the invocation.
    Nobody,
}

/// Time that a function tells, in microseconds, cut to at least 0 and at most the time that the call took.
pub fn within(took: Duration, told_us: f64) -> u64 {
    let most = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    // A negative time counts as none, and a number that is no duration as the most.
    let told = Duration::try_from_secs_f64((told_us / 1e6).max(0.0));
    told.map_or(most, |told| u64::try_from(told.as_micros()).unwrap_or(most).min(most))
}

/// A failure that the function has not told itself.
pub fn told(kind: &str, message: String) -> FunctionError {
    FunctionError { error_type: kind.to_owned(), error_message: message, stack_trace: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_word_for_its_time_is_bounded() {
        let took = Duration::from_millis(3);
        for (told, expected) in [(1500.0, 1500), (-1.0, 0), (9000.0, 3000), (1e300, 3000)] {
            assert_eq!(within(took, told), expected, "{told}");
        }
    }
}
