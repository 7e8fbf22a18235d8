//! Kinds of values: their form in the file and in a flag, and the value in force.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};

use super::error::{SettingsError, Wrong};
use super::variables::Variables;

/// A kind of value that the configuration file can have.
pub(super) trait Kind {
    /// The value as a user gives it.
    type Said;
    /// The value that is in force.
    type Value;

    /// An example of a value, in the form of the file.
    const EXAMPLE: &'static str;
    /// True if [`Kind::write`] gives a text that the file has between quotes.
    const IS_QUOTED: bool;

    /// Reads the file's value.
    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<Self::Said, D::Error>;

    /// Makes the value in force from the given value.
    fn settle(said: Self::Said, variables: &Variables) -> Result<Self::Value, SettingsError>;

    /// The value as text, in the form of a flag, or of the file without quotes. `None` if there is no value.
    fn write(value: &Self::Value) -> Option<OsString>;
}

/// A kind of value that a flag and a variable can have too.
pub(super) trait FlagKind: Kind {
    /// The value's name in the help.
    const NAME: &'static str;
    /// True if the text is a path, which need not be UTF-8.
    const IS_PATH: bool = false;

    /// Reads the text of a flag or of a variable.
    fn read(text: &OsStr) -> Result<Self::Said, Wrong>;
}

/// A value that the file says.
pub(super) struct Written<K: Kind>(pub(super) K::Said);

#[cfg(test)]
impl<K: Kind<Said: std::fmt::Debug>> std::fmt::Debug for Written<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
impl<K: Kind<Said: PartialEq>> PartialEq for Written<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

#[cfg(test)]
impl<K: Kind<Said: Eq>> Eq for Written<K> {}

impl<'de, K: Kind> Deserialize<'de> for Written<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        K::read_file(from).map(Self)
    }
}

/// Reads a value by its text.
pub(super) fn parse<T: FromStr<Err: Into<Wrong>>>(text: &OsStr) -> Result<T, Wrong> {
    text.to_string_lossy().parse().map_err(Into::into)
}

/// Reads a value that the file has as a text.
pub(super) fn parse_file<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

/// A list, in the form of the file.
pub(super) fn list(values: impl IntoIterator<Item = String>) -> OsString {
    toml::Value::from(values.into_iter().collect::<Vec<_>>()).to_string().into()
}
