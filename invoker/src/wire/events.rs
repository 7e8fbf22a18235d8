//! Asynchronous events: payloads that functions are given later, and again if they fail.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::invocation::FunctionError;

/// Longest payload of an event, in bytes: AWS Lambda's limit for asynchronous requests.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// Policy of trying a function's events. The defaults are AWS Lambda's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsyncPolicy {
    /// Attempts that may follow one that the function has failed.
    pub retries: u32,
    /// Time from the first failed attempt to the next, in milliseconds. The time doubles after each further
    /// one.
    pub backoff_ms: u64,
    /// Greatest age of an event, in milliseconds.
    pub max_age_ms: u64,
}

impl Default for AsyncPolicy {
    fn default() -> Self {
        Self { retries: 2, backoff_ms: 60_000, max_age_ms: 6 * 60 * 60 * 1000 }
    }
}

/// An event that will not be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The event's number, which is the request's of each of its invocations.
    pub id: String,
    /// The function.
    pub function: String,
}

/// A request of `pipsqueak events`. Its name is the verb of the command line that sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventsRequest {
    /// Events that are not done, the oldest first; answered by [`super::Reply::Events`].
    Ls {
        /// The function whose events are listed; all functions if absent.
        function: Option<String>,
        /// True if only dead letters are listed.
        dead: bool,
    },
    /// One event; answered by [`super::Reply::Event`].
    Show {
        /// The event's number.
        id: String,
    },
    /// Have a dead letter tried again; answered by [`super::Reply::Done`].
    Retry {
        /// The event's number.
        id: String,
    },
    /// Remove an event that does not run; answered by [`super::Reply::Done`].
    Rm {
        /// The event's number.
        id: String,
    },
}

/// An event that is not done. An event that is done is forgotten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventInfo {
    /// The event's number, which is the request's of each of its invocations.
    pub id: String,
    /// The function.
    pub function: String,
    /// Origin of the event.
    pub origin: EventOrigin,
    /// State of the event.
    pub state: EventState,
    /// Time of acceptance, in UTC as RFC 3339 writes it.
    pub accepted: String,
    /// Attempts that the function has failed.
    pub attempts: u32,
    /// Time of the next attempt, in the same form; absent if the event is not pending.
    pub next: Option<String>,
    /// Error of the last attempt, shortened if it is long; in lists without the stack.
    pub error: Option<FunctionError>,
    /// Reason that the event is not tried any more; absent if the event is not dead.
    pub condition: Option<EventCondition>,
    /// Payload for the function; absent in lists.
    pub payload: Option<Box<RawValue>>,
}

/// Origin of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventOrigin {
    /// A client.
    Invoke,
    /// A schedule of its function.
    Schedule,
}

/// State of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventState {
    /// The event waits for its first or its next attempt.
    Pending,
    /// The event's function runs.
    Running,
    /// The event is a dead letter: kept, but not tried any more.
    Dead,
}

/// Reason that an event is not tried any more. The names are AWS Lambda's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventCondition {
    /// The function has failed as often as it may.
    RetriesExhausted,
    /// The event is too old, or would be at the next attempt.
    EventAgeExceeded,
}

/// Numbers of events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounts {
    /// Events that wait.
    pub pending: u64,
    /// Events that run.
    pub running: u64,
    /// Events that are dead letters.
    pub dead: u64,
}
