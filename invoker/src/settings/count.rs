//! Settings that are numbers of things.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};

use super::error::{SettingsError, Wrong};
use super::kind::{FlagKind, Kind};
use super::variables::Variables;

/// Limit far above any use: each spare is a sandbox.
const MOST_SPARES: usize = 1000;

/// Number of users for sandboxes, less some for zygotes and spares.
const MOST_SANDBOXES: u32 = 10_000;

/// Limit below that of connections: each waiting invocation has one.
const MOST_WAITING: u32 = 4000;

/// Functions wait for other services most of the time, or one sandbox for each processor would do.
const SANDBOXES_PER_PROCESSOR: usize = 16;

/// A kind of thing whose number is a setting.
pub(super) trait Counted {
    /// The type of the number.
    type Number: FromStr + Display + PartialOrd;

    /// The things.
    const NAME: &'static str;
    /// The smallest number.
    const LEAST: Self::Number;
    /// The largest number.
    const MOST: Self::Number;
}

/// Children of one zygote that wait for functions.
pub(super) enum Spares {}

impl Counted for Spares {
    type Number = usize;

    const NAME: &'static str = "spares";
    const LEAST: usize = 0;
    const MOST: usize = MOST_SPARES;
}

/// Sandboxes that serve at the same time.
pub(super) enum Sandboxes {}

impl Counted for Sandboxes {
    type Number = u32;

    const NAME: &'static str = "sandboxes";
    const LEAST: u32 = 1;
    const MOST: u32 = MOST_SANDBOXES;
}

/// Invocations of one function that wait.
pub(super) enum Queue {}

impl Counted for Queue {
    type Number = u32;

    const NAME: &'static str = "invocations that wait";
    const LEAST: u32 = 0;
    const MOST: u32 = MOST_WAITING;
}

impl<C: Counted> Kind for C {
    type Said = C::Number;
    type Value = C::Number;

    const EXAMPLE: &'static str = "8";
    const IS_QUOTED: bool = false;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<C::Number, D::Error> {
        let number = i64::deserialize(from)?;
        number_of::<C>(&number.to_string()).map_err(D::Error::custom)
    }

    fn settle(said: C::Number, _: &Variables) -> Result<C::Number, SettingsError> {
        Ok(said)
    }

    fn write(value: &C::Number) -> Option<OsString> {
        Some(value.to_string().into())
    }
}

impl<C: Counted> FlagKind for C {
    const NAME: &'static str = "N";

    fn read(text: &OsStr) -> Result<C::Number, Wrong> {
        Ok(number_of::<C>(&text.to_string_lossy())?)
    }
}

fn number_of<C: Counted>(text: &str) -> Result<C::Number, String> {
    let (least, most, things) = (C::LEAST, C::MOST, <C as Counted>::NAME);
    let number = text.parse().ok().filter(|number| (&least..=&most).contains(&number));
    number.ok_or_else(|| {
        format!("`{text}` is no number of {things}: a number from {least} to {most}")
    })
}

/// Default number of sandboxes that serve at the same time.
pub(super) fn default_sandboxes() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(processors * SANDBOXES_PER_PROCESSOR).unwrap_or(MOST_SANDBOXES)
}
