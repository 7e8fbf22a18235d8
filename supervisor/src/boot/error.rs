//! Why a supervisor could not start, or end.

use std::io;
use std::path::PathBuf;

use crate::containers::ContainersError;
use crate::deployment::FunctionsError;
use crate::dispatch::{ListenError, LockError};
use crate::environment::EnvironmentsError;
use crate::events::EventsError;
use crate::network::NatError;
use crate::sealed::{KeyError, SealedError};

/// Reason that a supervisor could not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The supervisor does not run as root.
    #[error("pipsqueakd makes mounts and namespaces, so it must be started by root")]
    NotRoot,
    /// The supervisor's socket cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// One of the supervisor's folders cannot be made or removed.
    #[error("{}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the call.
        error: io::Error,
    },
    /// No interpreter can be used for environments that name none.
    #[error("no interpreter: {0}; name one with --python")]
    Interpreter(String),
    /// No uv was found.
    #[error("uv is not on the PATH; install it (pip install uv) or name it with --uv")]
    Uv,
    /// The store failed.
    #[error(transparent)]
    Repository(#[from] pipsqueak_fs::RepositoryError),
    /// A key that encrypts stored secrets cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The deployed functions cannot be read.
    #[error(transparent)]
    Functions(#[from] FunctionsError),
    /// The asynchronous events cannot be read.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The environments failed.
    #[error(transparent)]
    Environments(#[from] EnvironmentsError),
    /// The environments of containers failed.
    #[error(transparent)]
    Containers(#[from] ContainersError),
    /// The network of functions failed.
    #[error(transparent)]
    Nat(#[from] NatError),
    /// The mount has ended by itself.
    #[error("the process that keeps the mount has ended, and the mount with it; see the log")]
    Lost,
    /// The machine refused a step.
    #[error("{step}: {error}; `pipsqueak doctor` tells what the machine lacks")]
    Machine {
        /// The step.
        step: &'static str,
        /// The error of the call.
        error: io::Error,
    },
}

impl BootError {
    /// Exit code that a client of the command line sees.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen(
                ListenError::Lock(LockError::Running { .. }) | ListenError::Elsewhere(_),
            )
            | Self::Interpreter(_)
            | Self::Key(_)
            | Self::Functions(FunctionsError::Sealed(SealedError::Unknown { .. }))
            | Self::Events(EventsError::Sealed(SealedError::Unknown { .. }))
            | Self::Uv
            | Self::NotRoot => 2,
            _ => 70,
        }
    }
}

/// An error of a step that the machine has refused.
pub(super) fn machine(step: &'static str) -> impl FnOnce(io::Error) -> BootError {
    move |error| BootError::Machine { step, error }
}
