//! The order in which paused sandboxes are dropped.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

use serde::de::Deserializer;

use super::error::{SettingsError, Wrong};
use super::kind::{FlagKind, Kind, parse, parse_file};
use super::variables::Variables;

/// Policy that says which paused sandbox is dropped first, if there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eviction {
    /// The least recently used sandbox.
    #[default]
    Lru,
    /// The sandbox that saves least time per byte, by the calls of its function and the time of a start:
    /// greedy-dual-size-frequency.
    GreedyDual,
}

/// A text names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no policy of eviction; name lru or greedy-dual")]
pub struct EvictionError(String);

impl FromStr for Eviction {
    type Err = EvictionError;

    fn from_str(text: &str) -> Result<Self, EvictionError> {
        match text.trim() {
            "lru" => Ok(Self::Lru),
            "greedy-dual" => Ok(Self::GreedyDual),
            other => Err(EvictionError(other.to_owned())),
        }
    }
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lru => "lru",
            Self::GreedyDual => "greedy-dual",
        })
    }
}

impl Kind for Eviction {
    type Said = Self;
    type Value = Self;

    const EXAMPLE: &'static str = "\"greedy-dual\"";
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

impl FlagKind for Eviction {
    const NAME: &'static str = "POLICY";

    fn read(text: &OsStr) -> Result<Self, Wrong> {
        parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_others_are_refused() {
        for eviction in [Eviction::Lru, Eviction::GreedyDual] {
            assert_eq!(eviction.to_string().parse(), Ok(eviction));
        }
        assert!("".parse::<Eviction>().is_err());
        assert_eq!("fifo".parse::<Eviction>(), Err(EvictionError("fifo".to_owned())));
    }
}
