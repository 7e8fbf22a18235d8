//! Errors of environments that could not be found, made or cared for.

use std::io;
use std::path::PathBuf;

use pipsqueak_fs::AddError;

/// Reason that an environment could not be found, made or cared for.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentsError {
    /// No environment has this name.
    #[error("there is no environment {0}; `pipsqueak env ls` lists those there are")]
    Unknown(String),
    /// The interpreter cannot be used.
    #[error("{}: {reason}", path.display())]
    Interpreter {
        /// The interpreter's executable.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The text is no version of Python, or not the version of the named interpreter.
    #[error("--python-version {version}: {reason}")]
    Version {
        /// The version, as it was given.
        version: String,
        /// The reason.
        reason: String,
    },
    /// The environment's interpreter is not on this machine.
    #[error(
        "environment {name} is for a Python {version} that this machine does not have, so no \
         function can run in it; containers can use it"
    )]
    Elsewhere {
        /// The environment.
        name: String,
        /// Version of the environment's interpreter.
        version: String,
    },
    /// Resolving, installing or storing failed.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The store or its catalog failed.
    #[error(transparent)]
    Repository(#[from] pipsqueak_fs::RepositoryError),
    /// Care of this kind is running already; only one runs at a time.
    #[error("{0} is running; wait for its end")]
    Busy(&'static str),
    /// The mount or a folder failed.
    #[error("environment {name}: {error}")]
    Io {
        /// The environment.
        name: String,
        /// The error of the call.
        error: io::Error,
    },
}
