//! The tiers in use.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};

use super::error::{SettingsError, Wrong};
use super::kind::{FlagKind, Kind, parse};
use super::variables::Variables;

/// The tiers in use. `cold` always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiers {
    /// A function's own sandbox is kept, frozen.
    pub paused: bool,
    /// Interpreters with packages imported are kept.
    pub zygote: bool,
    /// Packages are kept in the mount.
    pub ssd: bool,
}

impl Tiers {
    /// Every tier.
    pub const ALL: Self = Self { paused: true, zygote: true, ssd: true };
    /// No tier: every start is cold.
    pub const NONE: Self = Self { paused: false, zygote: false, ssd: false };
}

/// A text names no tiers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no tier; name some of paused,zygote,ssd, or none")]
pub struct TiersError(String);

impl FromStr for Tiers {
    type Err = TiersError;

    fn from_str(text: &str) -> Result<Self, TiersError> {
        let mut tiers = Self::NONE;
        if text.trim() == "none" {
            return Ok(tiers);
        }
        for name in text.split(',').map(str::trim) {
            match name {
                "paused" => tiers.paused = true,
                "zygote" => tiers.zygote = true,
                "ssd" => tiers.ssd = true,
                other => return Err(TiersError(other.to_owned())),
            }
        }
        Ok(tiers)
    }
}

impl fmt::Display for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [(self.paused, "paused"), (self.zygote, "zygote"), (self.ssd, "ssd")];
        let used: Vec<&str> = named.iter().filter(|(used, _)| *used).map(|(_, n)| *n).collect();
        f.write_str(if used.is_empty() { "none".to_owned() } else { used.join(",") }.as_str())
    }
}

impl Kind for Tiers {
    type Said = Self;
    type Value = Self;

    const EXAMPLE: &'static str = "[\"paused\", \"ssd\"]";
    const IS_QUOTED: bool = true;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged, expecting = "tiers are a list such as [\"paused\", \"zygote\", \"ssd\"]")]
        enum Form {
            Text(String),
            List(Vec<String>),
        }
        let text = match Form::deserialize(from)? {
            Form::List(names) if names.is_empty() => "none".to_owned(),
            Form::List(names) => names.join(","),
            Form::Text(text) => text,
        };
        text.parse().map_err(D::Error::custom)
    }

    fn settle(said: Self, _: &Variables) -> Result<Self, SettingsError> {
        Ok(said)
    }

    fn write(value: &Self) -> Option<OsString> {
        Some(value.to_string().into())
    }
}

impl FlagKind for Tiers {
    const NAME: &'static str = "LIST";

    fn read(text: &OsStr) -> Result<Self, Wrong> {
        parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for tiers in [Tiers::ALL, Tiers::NONE, Tiers { zygote: false, ..Tiers::ALL }] {
            assert_eq!(tiers.to_string().parse(), Ok(tiers));
        }
        assert_eq!("ssd, paused".parse(), Ok(Tiers { zygote: false, ..Tiers::ALL }));
    }

    #[test]
    fn unknown_and_empty_names_are_refused() {
        assert_eq!("paused,zygotes".parse::<Tiers>(), Err(TiersError("zygotes".to_owned())));
        assert!("".parse::<Tiers>().is_err());
        assert!("none,ssd".parse::<Tiers>().is_err());
    }
}
