//! A client's wishes for an invocation, and its refusal.

use std::fmt::Display;
use std::time::{Duration, Instant};

use pipsqueak::wire::{DEFAULT_PAYLOAD, Fault, FaultKind};
use pipsqueak_policy::fairness::Bounds;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use crate::deployment::Function;
use crate::instance::Streams;

/// A client's wishes for an invocation, without its event.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The request's number.
    pub request_id: String,
    /// Time at which the request was read.
    pub arrived: Instant,
    /// Longest wait for the environment and the turn. If absent, the wait for the turn is limited by
    /// the function's timeout.
    pub deadline: Option<Duration>,
    /// Notified when the client has gone away.
    pub gone: &'a Notify,
    /// The client's streams, if the call is streamed.
    pub streams: Option<Streams>,
}

/// Refuses an event that is longer than the function's limit.
pub(super) fn check_length(function: &Function, payload: &RawValue) -> Result<(), Fault> {
    let info = &function.info;
    let (length, most) = (payload.get().len() as u64, info.payload_in.unwrap_or(DEFAULT_PAYLOAD));
    if length > most {
        let reason = format!("its event has {length} bytes, of {most} at most");
        return Err(refused(&info.name, &reason));
    }
    Ok(())
}

/// Limits of what a function may have at the same time.
pub(super) fn bounds(function: &Function) -> Bounds {
    Bounds { sandboxes: function.info.sandboxes, concurrency: function.info.concurrency }
}

/// The fault of an invocation that does not begin.
pub(super) fn refused(name: &str, reason: &dyn Display) -> Fault {
    let message = format!("an invocation of {name} is refused: {reason}");
    Fault { kind: FaultKind::Refused, message }
}
