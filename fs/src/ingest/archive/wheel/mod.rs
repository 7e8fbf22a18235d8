//! A wheel: from its archive to the files that installing it leaves. None of it is run, and nothing
//! but the archive and the interpreter's layout decides what they are.

pub mod archive;
pub mod layout;
#[cfg(test)]
pub mod sample;
pub mod scripts;

use zip::result::ZipError;

/// Reason why a wheel is not installed.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// The archive.
    #[error("its zip file cannot be read: {0}")]
    Archive(#[from] ZipError),
    /// An entry of it.
    #[error("{path:?}: {reason}")]
    Entry {
        /// Name.
        path: String,
        /// Fault that was found.
        reason: String,
    },
    /// Metadata of the wheel.
    #[error("{0}")]
    Metadata(String),
}

impl Flaw {
    fn of(path: &str, reason: impl Into<String>) -> Self {
        Self::Entry { path: path.to_owned(), reason: reason.into() }
    }
}
