//! Why there is no zygote, or no child of one.

use std::io;
use std::time::Duration;

use super::imports::{self, Unsafe};
use crate::protocol::Failed;
use crate::sandbox::SandboxError;

/// Why a zygote could not be started or did not fork.
#[derive(Debug, thiserror::Error)]
pub enum ZygoteError {
    /// Its sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Its process or channel.
    #[error("talking to the zygote: {0}")]
    Channel(#[from] io::Error),
    /// It ended while importing.
    #[error("the zygote {0} while importing {1}")]
    Ended(String, String),
    /// It ended while it tried whether it can fork.
    #[error("the zygote {0} while it forked for a trial")]
    Trial(String),
    /// It did not answer in time.
    #[error("the zygote did not {0} within {1:?}")]
    Slow(&'static str, Duration),
    /// Imports have left what a fork would break or share; each module, and what it was.
    #[error("no zygote can have imported {}", imports::describe(.0))]
    Unsafe(Unsafe),
    /// An import has failed, and left what is half-imported.
    #[error("{} {}", .0.module, .0.reason)]
    Failed(Failed),
    /// Its children would share what they must not, and it has not told of that.
    #[error("the zygote would share with its children what it has not told of: {0}")]
    Shares(String),
    /// It cannot go to sleep.
    #[error("the zygote is not fit to fork: {0}")]
    Unready(String),
    /// A child could not enter its sandbox.
    #[error("the zygote's child could not enter its sandbox: {0}")]
    Refused(String),
    /// A child ended before it was a function's, or a zygote itself.
    #[error("the zygote's child {0} before it was of use")]
    Lost(String),
    /// The zygote that it was to be forked from.
    #[error("the zygote that it was to be forked from does not fork: {0}")]
    Parent(#[source] Box<Self>),
}
