//! What is wrong with a function that cannot be deployed, kept or found.

use std::io;
use std::path::{Path, PathBuf};

use super::folder::DeployError;
use crate::sealed::SealedError;

/// Why a function could not be deployed, kept or found.
#[derive(Debug, thiserror::Error)]
pub enum FunctionsError {
    /// There is none of that name.
    #[error("there is no function {0}; `pipsqueak functions ls` lists those there are")]
    Unknown(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Its code.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The encryption of its record.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// Its record.
    #[error("{}: {error}", path.display())]
    Record {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Names a file or folder of the functions that an operation has failed on.
pub fn at(path: &Path) -> impl Fn(io::Error) -> FunctionsError + use<'_> {
    move |error| FunctionsError::Record { path: path.to_owned(), error }
}
