//! Errors of settings.

use std::error::Error;
use std::io;
use std::path::PathBuf;

/// The fault of a text.
pub(super) type Wrong = Box<dyn Error + Send + Sync>;

/// Failure of reading settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A flag or a variable has a bad value.
    #[error("{from}: {source}")]
    Value {
        /// The flag or variable.
        from: &'static str,
        /// The error of the value's reader.
        source: Wrong,
    },
    /// A program that was named is not there or cannot be run.
    #[error("{key}: {}: {source}; name an executable file", path.display())]
    Program {
        /// The key of the setting: `uv` or `python`.
        key: &'static str,
        /// The path or the name that was given.
        path: PathBuf,
        /// The error of the search, or of the program.
        source: io::Error,
    },
    /// The configuration file cannot be read.
    #[error("reading the configuration file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the read.
        source: io::Error,
    },
    /// The configuration file says something wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The fault in the line.
        reason: String,
    },
    /// A relative path, and no working directory to start it from.
    #[error("{}: cannot be made absolute: {source}", path.display())]
    Relative {
        /// The path.
        path: PathBuf,
        /// The error of the working directory.
        source: io::Error,
    },
    /// The size of the machine's memory is not known, and no budget was given.
    #[error("asking for the size of memory: {0}; give a budget with --memory")]
    Memory(#[source] io::Error),
}
