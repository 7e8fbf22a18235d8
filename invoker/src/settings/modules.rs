//! Modules of Python.

use std::ffi::OsString;

use serde::de::{Deserialize, Deserializer};

use super::error::SettingsError;
use super::kind::{Kind, list};
use super::variables::Variables;

/// Names of modules.
pub(super) enum Modules {}

impl Kind for Modules {
    type Said = Vec<String>;
    type Value = Vec<String>;

    const EXAMPLE: &'static str = "[\"module\"]";
    const IS_QUOTED: bool = false;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
        Vec::deserialize(from)
    }

    fn settle(said: Vec<String>, _: &Variables) -> Result<Vec<String>, SettingsError> {
        Ok(said)
    }

    fn write(value: &Vec<String>) -> Option<OsString> {
        Some(list(value.clone()))
    }
}
