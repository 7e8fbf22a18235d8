//! Why containers could not be given something.

use std::io;

use crate::environment::EnvironmentsError;

/// Why containers could not be given something.
#[derive(Debug, thiserror::Error)]
pub enum ContainersError {
    /// There is no volume of that name.
    #[error("there is no volume {0}; `docker volume ls` lists those there are")]
    UnknownVolume(String),
    /// There is one of that name that is another.
    #[error("volume {name} exists and shows environment {environment}; remove it first")]
    Exists {
        /// The volume.
        name: String,
        /// The environment that the volume shows.
        environment: String,
    },
    /// A container has it.
    #[error("volume {0} is mounted in a container; stop that first")]
    Mounted(String),
    /// A volume cannot be made as asked.
    #[error("a volume has the option env=NAME and no other; {0:?} is not known")]
    Option(String),
    /// The environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentsError),
    /// Folders, mounts, or the list of volumes.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The containers were stopped.
    #[error("the supervisor is stopping")]
    Stopping,
}
