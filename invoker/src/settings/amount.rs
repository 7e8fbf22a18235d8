//! Bytes and seconds.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

use super::error::{SettingsError, Wrong};
use super::kind::{FlagKind, Kind};
use super::variables::Variables;
use crate::wire::MOST_PAYLOAD;
use crate::{seconds, size};

/// A number of bytes.
pub(super) enum Size {}

impl Kind for Size {
    type Said = u64;
    type Value = u64;

    const EXAMPLE: &'static str = "\"8G\"";
    const IS_QUOTED: bool = false;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged, expecting = "a size is a number of bytes or a text such as \"512M\"")]
        enum Form {
            Bytes(u64),
            Text(String),
        }
        match Form::deserialize(from)? {
            Form::Bytes(bytes) => Ok(bytes),
            Form::Text(text) => size::parse(&text).map_err(D::Error::custom),
        }
    }

    fn settle(said: u64, _: &Variables) -> Result<u64, SettingsError> {
        Ok(said)
    }

    fn write(value: &u64) -> Option<OsString> {
        Some(value.to_string().into())
    }
}

impl FlagKind for Size {
    const NAME: &'static str = "SIZE";

    fn read(text: &OsStr) -> Result<u64, Wrong> {
        Ok(size::parse(&text.to_string_lossy())?)
    }
}

/// The length of an event or of a result, in bytes.
pub(super) enum Payload {}

impl Kind for Payload {
    type Said = u64;
    type Value = u64;

    const EXAMPLE: &'static str = "\"64M\"";
    const IS_QUOTED: bool = Size::IS_QUOTED;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let bytes = Some(Size::read_file(from)?).filter(|bytes| (1..=MOST_PAYLOAD).contains(bytes));
        let wrong = || format!("a payload may have from 1 byte to {} MiB", MOST_PAYLOAD >> 20);
        bytes.ok_or_else(|| D::Error::custom(wrong()))
    }

    fn settle(said: u64, _: &Variables) -> Result<u64, SettingsError> {
        Ok(said)
    }

    fn write(value: &u64) -> Option<OsString> {
        Size::write(value)
    }
}

/// A time.
pub(super) enum Seconds {}

impl Kind for Seconds {
    type Said = Duration;
    type Value = Duration;

    const EXAMPLE: &'static str = "0.5";
    const IS_QUOTED: bool = false;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged, expecting = "a time is a number of seconds")]
        enum Form {
            Whole(u64),
            Part(f64),
        }
        let text = match Form::deserialize(from)? {
            Form::Whole(number) => number.to_string(),
            Form::Part(number) => number.to_string(),
        };
        seconds::parse(&text).map_err(D::Error::custom)
    }

    fn settle(said: Duration, _: &Variables) -> Result<Duration, SettingsError> {
        Ok(said)
    }

    fn write(value: &Duration) -> Option<OsString> {
        Some(value.as_secs_f64().to_string().into())
    }
}

impl FlagKind for Seconds {
    const NAME: &'static str = "S";

    fn read(text: &OsStr) -> Result<Duration, Wrong> {
        Ok(seconds::parse(&text.to_string_lossy())?)
    }
}
