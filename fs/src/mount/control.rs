//! What is said to the process that serves the mount, and to the one that keeps it.
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
    /// How many requests the kernel has made.
    Counters,
    /// Which objects were found damaged since this was asked last.
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
    /// Why it could not be done.
    Failed(String),
}

/// A request of the supervisor to the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Start the first server.
    Serve,
    /// As [`Ask::Publish`], whichever server does it.
    Publish(Vec<String>),
    /// What serves the mount, and what it was asked.
    Status,
    /// As [`Ask::Suspects`].
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
    /// What serves the mount.
    Status(Served),
    /// Numbers of objects that were found damaged.
    Suspects(Vec<ObjectId>),
    /// Why it could not be done.
    Failed(String),
}

/// What serves the mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The server's process; none for the moment between two.
    pub pid: Option<u32>,
    /// How many successors have taken the connection over.
    pub successions: u64,
    /// Requests of the kernel since the server began, by operation.
    pub requests: BTreeMap<String, u64>,
}
