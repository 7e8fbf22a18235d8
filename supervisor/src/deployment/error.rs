//! Errors of functions that cannot be deployed, kept or found.

use std::io;
use std::path::{Path, PathBuf};

use super::folder::DeployError;
use crate::sealed::SealedError;

/// Reason that a function could not be deployed, kept or found.
#[derive(Debug, thiserror::Error)]
pub enum FunctionsError {
    /// No function has this name.
    #[error("there is no function {0}; `pipsqueak functions ls` lists those there are")]
    Unknown(String),
    /// The request asks for something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The function's code.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The encryption of the function's record.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The function's record.
    #[error("{}: {error}", path.display())]
    Record {
        /// The file or folder.
        path: PathBuf,
        /// The error of the call.
        error: io::Error,
    },
}

/// A function for `map_err`, which names the file or folder that an operation has failed on.
pub fn at(path: &Path) -> impl Fn(io::Error) -> FunctionsError + use<'_> {
    move |error| FunctionsError::Record { path: path.to_owned(), error }
}
