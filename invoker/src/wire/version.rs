//! The protocol's version, and the one message whose form never changes: the refusal of another.

use serde::{Deserialize, Serialize};

/// Version of the wire protocol. Client and supervisor must agree exactly. Every change to a frame, a
/// request or a reply raises it.
pub const VERSION: u16 = 5;

/// Sent instead of a reply to a client of another version, and by design readable by all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The version that the supervisor speaks.
    pub version: u16,
    /// The failure and the remedy, for the user.
    pub message: String,
}
