//! How much the supervisor writes to its log.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

use serde::de::Deserializer;

use super::error::{SettingsError, Wrong};
use super::kind::{FlagKind, Kind, parse, parse_file};
use super::variables::Variables;

/// Least weight of what is written to the supervisor's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Faults of Pipsqueak and its machine.
    Error,
    /// These, and what was got around.
    Warn,
    /// These, and what the supervisor begins and ends.
    #[default]
    Info,
    /// These, and the steps of each invocation.
    Debug,
}

/// A text names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no level of the log; name error, warn, info or debug")]
pub struct LogLevelError(String);

impl FromStr for LogLevel {
    type Err = LogLevelError;

    fn from_str(text: &str) -> Result<Self, LogLevelError> {
        match text.trim() {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            other => Err(LogLevelError(other.to_owned())),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

impl Kind for LogLevel {
    type Said = Self;
    type Value = Self;

    const EXAMPLE: &'static str = "\"debug\"";
    const IS_QUOTED: bool = true;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parse_file(from)
    }

    fn settle(said: Self, _: &Variables) -> Result<Self, SettingsError> {
        Ok(said)
    }

    fn write(value: &Self) -> Option<OsString> {
        Some(value.to_string().into())
    }
}

impl FlagKind for LogLevel {
    const NAME: &'static str = "LEVEL";

    fn read(text: &OsStr) -> Result<Self, Wrong> {
        parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_others_are_refused() {
        for level in [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug] {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert_eq!("loud".parse::<LogLevel>(), Err(LogLevelError("loud".to_owned())));
    }
}
