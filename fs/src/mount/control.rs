//! Messages to the process that serves the mount, and to the one that keeps it.
//!
//! Supervisor, keeper and server each talk to the next in a [`super::conversation`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ObjectId;

/// A request of the keeper to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Say that you are well.
    Pulse,
    /// Show what is published now, and let the kernel forget what it knows of these names.
    Publish(Vec<String>),
    /// Asks for the number of requests that the kernel has made.
    Counters,
    /// Asks for the objects that were found damaged since this was asked last.
    Suspects,
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tell {
    /// The mount is served; said once, unasked.
    Serving,
    /// Done.
    Done,
    /// Requests by operation.
    Counters(BTreeMap<String, u64>),
    /// Numbers of objects that were found damaged.
    Suspects(Vec<ObjectId>),
    /// Reason of a failure.
    Failed(String),
}

/// A request of the supervisor to the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Start the first server.
    Serve,
    /// Variant of `Ask::Publish` for whichever server there is.
    Publish(Vec<String>),
    /// Asks for the server of the mount, and what it was asked.
    Status,
    /// Variant of `Ask::Suspects`.
    Suspects,
    /// End the server, give the connection back, and end. It is answered by the connection alone.
    HandOver,
}

/// The keeper's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The keeper hears orders; said once, unasked.
    Keeping,
    /// Done.
    Done,
    /// Server of the mount.
    Status(Served),
    /// Numbers of objects that were found damaged.
    Suspects(Vec<ObjectId>),
    /// Reason of a failure.
    Failed(String),
}

/// Server of the mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The server's process; none for the moment between two.
    pub pid: Option<u32>,
    /// Number of successors that have taken the connection over.
    pub successions: u64,
    /// Requests of the kernel since the server began, by operation.
    pub requests: BTreeMap<String, u64>,
}
