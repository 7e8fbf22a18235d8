//! Why environments could not be found, made or cared for.

use std::io;
use std::path::PathBuf;

use pipsqueak_fs::AddError;

/// Why an environment could not be found or made.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentsError {
    /// There is none of that name.
    #[error("there is no environment {0}; `pipsqueak env ls` lists those there are")]
    Unknown(String),
    /// The interpreter cannot be used.
    #[error("{}: {reason}", path.display())]
    Interpreter {
        /// Its executable.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A version of Python that is none, or not that of the interpreter.
    #[error("--python-version {version}: {reason}")]
    Version {
        /// As it was given.
        version: String,
        /// Why it cannot be.
        reason: String,
    },
    /// Its interpreter is not on this machine.
    #[error(
        "environment {name} is for a Python {version} that this machine does not have, so no \
         function can run in it; containers can use it"
    )]
    Elsewhere {
        /// The environment.
        name: String,
        /// Of its interpreter.
        version: String,
    },
    /// Resolving, installing or storing failed.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The store or its catalog.
    #[error(transparent)]
    Repository(#[from] pipsqueak_fs::RepositoryError),
    /// Care that is one at a time.
    #[error("{0} is running; wait for its end")]
    Busy(&'static str),
    /// The mount, or a folder.
    #[error("environment {name}: {error}")]
    Io {
        /// The environment.
        name: String,
        /// Why.
        error: io::Error,
    },
}
