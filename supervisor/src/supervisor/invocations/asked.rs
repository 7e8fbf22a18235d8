//! What a client asks of an invocation, and how it is refused.

use std::fmt::Display;
use std::time::{Duration, Instant};

use pipsqueak::wire::{DEFAULT_PAYLOAD, Fault, FaultKind};
use pipsqueak_policy::fairness::Bounds;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use crate::deployment::Function;
use crate::instance::Streams;

/// What a client has said of an invocation besides its event.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The request's number.
    pub request_id: String,
    /// When it was read.
    pub arrived: Instant,
    /// How long it may wait for its environment and its turn. Where this is absent, for its turn as long
    /// as it may run.
    pub deadline: Option<Duration>,
    /// Told when the client has gone away.
    pub gone: &'a Notify,
    /// Where it is streamed.
    pub streams: Option<Streams>,
}

/// Refuses an event that is longer than a function takes.
pub(super) fn check_length(function: &Function, payload: &RawValue) -> Result<(), Fault> {
    let info = &function.info;
    let (length, most) = (payload.get().len() as u64, info.payload_in.unwrap_or(DEFAULT_PAYLOAD));
    if length > most {
        let reason = format!("its event has {length} bytes, of {most} at most");
        return Err(refused(&info.name, &reason));
    }
    Ok(())
}

/// What a function may have at the same time.
pub(super) fn bounds(function: &Function) -> Bounds {
    Bounds { sandboxes: function.info.sandboxes, concurrency: function.info.concurrency }
}

/// An invocation that does not begin.
pub(super) fn refused(name: &str, reason: &dyn Display) -> Fault {
    let message = format!("an invocation of {name} is refused: {reason}");
    Fault { kind: FaultKind::Refused, message }
}
