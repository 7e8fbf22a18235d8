//! Why a sandbox could not be made or used.

use std::io;
use std::time::Duration;

use crate::network::NatError;

/// Why a sandbox could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Its control group.
    #[error("making the control group of sandbox {name}: {error}")]
    Group {
        /// The sandbox.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A step of making it or of starting a program in it.
    #[error("making sandbox {name}: {reason}")]
    Failed {
        /// The sandbox.
        name: String,
        /// Which step, on what, and why.
        reason: String,
    },
    /// The process that makes sandboxes does not answer.
    #[error("the process that makes sandboxes does not answer: {0}; restart the supervisor")]
    Maker(io::Error),
    /// Its network.
    #[error(transparent)]
    Nat(#[from] NatError),
    /// What it is to see of its resolver.
    #[error("taking resolv.conf of the network of functions: {0}")]
    Resolver(io::Error),
    /// The process that makes sandboxes hangs.
    #[error("the process that makes sandboxes did not answer within {0:?}; restart the supervisor")]
    Silent(Duration),
    /// No sandbox is made any more.
    #[error("the supervisor is stopping")]
    Stopping,
    /// No user number is free.
    #[error("all {0} user numbers for sandboxes are in use; evict some sandboxes")]
    Users(u32),
}
