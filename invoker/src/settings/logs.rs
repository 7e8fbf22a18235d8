//! The size of a function's logs.

use std::ffi::{OsStr, OsString};

use serde::de::{Deserializer, Error};

use super::amount::Size;
use super::error::{SettingsError, Wrong};
use super::kind::{FlagKind, Kind};
use super::variables::Variables;
use crate::size::{self, SizeError};

/// Smallest bound. One file, a quarter of the bound, must hold the output of one invocation.
const LEAST: u64 = 1 << 20;

/// A text is no bound for logs.
#[derive(Debug, thiserror::Error)]
enum LogsError {
    /// The text is no size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The size is too small.
    #[error("`{0}` is too small for a function's logs; give them 1M at least")]
    Small(String),
}

/// The most bytes on disk of one function's logs.
pub(super) enum Logs {}

impl Kind for Logs {
    type Said = u64;
    type Value = u64;

    const EXAMPLE: &'static str = "\"10M\"";
    const IS_QUOTED: bool = Size::IS_QUOTED;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        parse(&Size::read_file(from)?.to_string()).map_err(D::Error::custom)
    }

    fn settle(said: u64, _: &Variables) -> Result<u64, SettingsError> {
        Ok(said)
    }

    fn write(value: &u64) -> Option<OsString> {
        Size::write(value)
    }
}

impl FlagKind for Logs {
    const NAME: &'static str = Size::NAME;

    fn read(text: &OsStr) -> Result<u64, Wrong> {
        Ok(parse(&text.to_string_lossy())?)
    }
}

/// Reads a bound, in bytes.
fn parse(text: &str) -> Result<u64, LogsError> {
    match size::parse(text)? {
        ..LEAST => Err(LogsError::Small(text.to_owned())),
        bytes => Ok(bytes),
    }
}
