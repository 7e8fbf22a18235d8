//! Commons: the view that the sandboxes of one tenant and one kind of network have of the system.
//!
//! Locks and leases of a file, and watches of its openings, are of an inode, also if their holder may only read it.
//! With the host's own inodes a function could have a program of the host's wait, see what that opens, and tell
//! something to a function of another tenant. An overlay's inodes are its own, while the pages of a file are those
//! of the file below it, in memory once. So each commons has overlays of its own: a root of the base's, one of
//! each folder of the system in that, and one of each interpreter's that is elsewhere.
//!
//! A commons is a mount namespace that holds nothing else, so that the copy which each new sandbox gets of
//! it is small. A hand makes it, the supervisor keeps it for as long as that maker runs, and gives it to each hand
//! that makes a sandbox of it.

use serde::{Deserialize, Serialize};

/// A set of sandboxes that see the same files of the system, and have the same kind of network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commons {
    name: String,
    own_network: bool,
}

impl Commons {
    /// Commons of one tenant's functions, or of functions that have no tenant, which are all in the host's network or
    /// each in its own.
    pub fn of_functions(own_network: bool, tenant: Option<&str>) -> Self {
        let network = if own_network { "own" } else { "host" };
        let name =
            tenant.map_or_else(|| network.to_owned(), |tenant| format!("{network}-{tenant}"));
        Self { name, own_network }
    }

    /// Commons of the jobs that resolve and install.
    pub fn of_installers() -> Self {
        Self { name: "installers".to_owned(), own_network: true }
    }

    /// True if each of the sandboxes has a network namespace of its own; else they are in the host's.
    pub fn own_network(&self) -> bool {
        self.own_network
    }

    /// Name of the commons.
    pub fn name(&self) -> &str {
        &self.name
    }
}
