//! Asynchronous events: what functions are given later, and again where they fail.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::invocation::FunctionError;

/// Longest payload of an event, in bytes: AWS Lambda's limit for asynchronous requests.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// How often and how long a function's events are tried. The defaults are AWS Lambda's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsyncPolicy {
    /// How many attempts may follow one that the function has failed.
    pub retries: u32,
    /// How long after the first failed attempt the next comes, in milliseconds; twice as long after
    /// each further one.
    pub backoff_ms: u64,
    /// How old an event may become, in milliseconds.
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
    /// Its number, which is the request's of each of its invocations.
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
        /// Only this function's.
        function: Option<String>,
        /// Only dead letters.
        dead: bool,
    },
    /// One event; answered by [`super::Reply::Event`].
    Show {
        /// Its number.
        id: String,
    },
    /// Have a dead letter tried again; answered by [`super::Reply::Done`].
    Retry {
        /// Its number.
        id: String,
    },
    /// Remove an event that does not run; answered by [`super::Reply::Done`].
    Rm {
        /// Its number.
        id: String,
    },
}

/// An event that is not done. One that is, is forgotten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventInfo {
    /// Its number, which is the request's of each of its invocations.
    pub id: String,
    /// The function.
    pub function: String,
    /// Where it comes from.
    pub origin: EventOrigin,
    /// What it does.
    pub state: EventState,
    /// When it was accepted, in UTC as RFC 3339 writes it.
    pub accepted: String,
    /// How often the function has failed it.
    pub attempts: u32,
    /// When it is tried next, likewise; absent where it is not pending.
    pub next: Option<String>,
    /// Why the last attempt failed, shortened where it is long; in lists without the stack.
    pub error: Option<FunctionError>,
    /// Why it is not tried any more; absent where it is not dead.
    pub condition: Option<EventCondition>,
    /// What the function is given; absent in lists.
    pub payload: Option<Box<RawValue>>,
}

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventOrigin {
    /// A client.
    Invoke,
    /// A schedule of its function.
    Schedule,
}

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventState {
    /// It waits for its first or its next attempt.
    Pending,
    /// Its function runs.
    Running,
    /// It is a dead letter: kept, but not tried any more.
    Dead,
}

/// Why an event is not tried any more. The names are AWS Lambda's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventCondition {
    /// Its function has failed as often as it may.
    RetriesExhausted,
    /// It is too old, or would be at the next attempt.
    EventAgeExceeded,
}

/// How many events there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounts {
    /// That wait.
    pub pending: u64,
    /// That run.
    pub running: u64,
    /// That are dead letters.
    pub dead: u64,
}
