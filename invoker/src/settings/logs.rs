//! How much of a function's logs is kept.

use crate::size::{self, SizeError};

/// Where nothing is said.
pub(super) const DEFAULT: u64 = 10 << 20;
/// The least: files of a quarter of it must hold what one invocation may print.
const LEAST: u64 = 1 << 20;

/// A text is no bound for logs.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogsError {
    /// It is no size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// It is too small.
    #[error("`{0}` is too small for a function's logs; give them 1M at least")]
    Small(String),
}

/// Reads a bound, in bytes.
pub(super) fn parse(text: &str) -> Result<u64, LogsError> {
    match size::parse(text)? {
        ..LEAST => Err(LogsError::Small(text.to_owned())),
        bytes => Ok(bytes),
    }
}
