//! Reasons for which there is no zygote, or no child of one.

use std::io;
use std::time::Duration;

use super::imports::{self, Unsafe};
use crate::protocol::Failed;
use crate::sandbox::SandboxError;

/// The reason why a zygote could not be started or did not fork.
#[derive(Debug, thiserror::Error)]
pub enum ZygoteError {
    /// The zygote's sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The zygote's process or channel failed.
    #[error("talking to the zygote: {0}")]
    Channel(#[from] io::Error),
    /// The zygote ended while importing.
    #[error("the zygote {0} while importing {1}")]
    Ended(String, String),
    /// The zygote ended during its trial fork.
    #[error("the zygote {0} while it forked for a trial")]
    Trial(String),
    /// The zygote did not answer in time.
    #[error("the zygote did not {0} within {1:?}")]
    Slow(&'static str, Duration),
    /// Imports have left state that a fork would break or share; each module with its hazard.
    #[error("no zygote can have imported {}", imports::describe(.0))]
    Unsafe(Unsafe),
    /// An import has failed, and has left half-imported modules.
    #[error("{} {}", .0.module, .0.reason)]
    Failed(Failed),
    /// The zygote would share state with its children that it must not, and has not reported that.
    #[error("the zygote would share with its children what it has not told of: {0}")]
    Shares(String),
    /// The zygote cannot go to sleep.
    #[error("the zygote is not fit to fork: {0}")]
    Unready(String),
    /// A child could not enter its sandbox.
    #[error("the zygote's child could not enter its sandbox: {0}")]
    Refused(String),
    /// A child ended before it became a function's process or a zygote.
    #[error("the zygote's child {0} before it was of use")]
    Lost(String),
    /// The parent zygote failed.
    #[error("the zygote that it was to be forked from does not fork: {0}")]
    Parent(#[source] Box<Self>),
}
