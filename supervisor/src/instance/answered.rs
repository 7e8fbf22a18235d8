//! What comes of an invocation.

use std::time::Duration;

use pipsqueak::wire::{FunctionError, Outcome};
use serde_json::value::RawValue;

use crate::logs::Recording;

/// How an invocation ended.
#[derive(Debug)]
pub struct Answered {
    /// What the handler returned, or why not.
    pub result: Result<Box<RawValue>, FunctionError>,
    /// How it ended.
    pub outcome: Outcome,
    /// Time in the handler, in microseconds.
    pub run_us: u64,
    /// What it printed.
    pub logs: String,
    /// Where the same is recorded, to be ended.
    pub recording: Option<Recording>,
    /// How far it came.
    pub reached: Reached,
    /// Why its version is to have interpreters of its own from now on, if it is.
    pub unlike: Option<String>,
}

/// How far an invocation came in its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// The handler, as far as is known.
    Handler,
    /// The handler was not loaded: nothing of it has run.
    Load,
    /// Nor was it loaded here, where the function's own code comes ahead of what a zygote had imported.
    Order,
    /// The process ended before it had read the invocation.
    Nobody,
}

/// As much of a time, in microseconds, as it can have been, of a function's word for it.
pub fn within(took: Duration, told_us: f64) -> u64 {
    let most = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    // What is negative was no time, and what is no duration was all that there can have been.
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
