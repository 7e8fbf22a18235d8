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

/// Why a supervisor could not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Something that only root may do.
    #[error("pipsqueakd makes mounts and namespaces, so it must be started by root")]
    NotRoot,
    /// Its socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// One of its folders.
    #[error("{}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The interpreter for environments that name none.
    #[error("no interpreter: {0}; name one with --python")]
    Interpreter(String),
    /// No uv.
    #[error("uv is not on the PATH; install it (pip install uv) or name it with --uv")]
    Uv,
    /// The store.
    #[error(transparent)]
    Repository(#[from] pipsqueak_fs::RepositoryError),
    /// The keys that encrypt what is stored of secrets.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The functions.
    #[error(transparent)]
    Functions(#[from] FunctionsError),
    /// The asynchronous events.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The environments.
    #[error(transparent)]
    Environments(#[from] EnvironmentsError),
    /// What containers have.
    #[error(transparent)]
    Containers(#[from] ContainersError),
    /// The network of functions.
    #[error(transparent)]
    Nat(#[from] NatError),
    /// The mount.
    #[error("the process that keeps the mount has ended, and the mount with it; see the log")]
    Lost,
    /// A step that the machine refused.
    #[error("{step}: {error}; `pipsqueak doctor` tells what the machine lacks")]
    Machine {
        /// Which step.
        step: &'static str,
        /// Why.
        error: io::Error,
    },
}

impl BootError {
    /// The exit code that a client of the command line sees.
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
