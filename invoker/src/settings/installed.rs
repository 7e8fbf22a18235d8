//! The programs that an instance starts: uv and Python.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error};

use super::error::{SettingsError, Wrong};
use super::kind::{FlagKind, Kind};
use super::program::{find_all, find_program};
use super::shim;
use super::variables::Variables;

/// A program that an instance starts.
pub(super) trait Installed {
    /// The key of the setting.
    const KEY: &'static str;
    /// The name that is looked for on the PATH if no program is named.
    const USUAL: &'static str;
    /// The program, in the form of the file.
    const EXAMPLE: &'static str;

    /// The program that a shim stands for.
    fn follow(path: &Path) -> io::Result<PathBuf>;
}

/// The installer of packages.
pub(super) enum Uv {}

impl Installed for Uv {
    const KEY: &'static str = "uv";
    const USUAL: &'static str = "uv";
    const EXAMPLE: &'static str = "\"/usr/bin/uv\"";

    fn follow(path: &Path) -> io::Result<PathBuf> {
        shim::uv(path)
    }
}

/// The interpreter.
pub(super) enum Python {}

impl Installed for Python {
    const KEY: &'static str = "python";
    const USUAL: &'static str = "python3";
    const EXAMPLE: &'static str = "\"python3.12\"";

    fn follow(path: &Path) -> io::Result<PathBuf> {
        shim::python(path)
    }
}

/// The path of an installed program, or a bare name that is looked for on the PATH.
pub(super) struct Program<P>(P);

impl<P: Installed> Kind for Program<P> {
    type Said = Option<PathBuf>;
    type Value = Option<PathBuf>;

    const EXAMPLE: &'static str = P::EXAMPLE;
    const IS_QUOTED: bool = true;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(from)?;
        if !path.is_absolute() && path.components().count() != 1 {
            return Err(D::Error::custom(format!(
                "`{}` is neither an absolute path nor a program's name",
                path.display()
            )));
        }
        Ok(Some(path))
    }

    /// The program that was named, or else the first on the PATH.
    fn settle(
        said: Option<PathBuf>,
        variables: &Variables,
    ) -> Result<Option<PathBuf>, SettingsError> {
        let search = variables.get("PATH");
        let Some(path) = said else {
            return Ok(usable::<P>(find_all(Path::new(P::USUAL), search.as_deref())));
        };
        find_program(&path, search.as_deref())
            .and_then(|found| P::follow(&found))
            .map(Some)
            .map_err(|source| SettingsError::Program { key: P::KEY, path, source })
    }

    fn write(value: &Option<PathBuf>) -> Option<OsString> {
        value.as_ref().map(Into::into)
    }
}

impl<P: Installed> FlagKind for Program<P> {
    const NAME: &'static str = "PATH";
    const IS_PATH: bool = true;

    fn read(text: &OsStr) -> Result<Option<PathBuf>, Wrong> {
        Ok(Some(text.into()))
    }
}

/// The first program that can be used. If none can, the first of all, so that its user sees the reason.
fn usable<P: Installed>(mut found: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let first = found.next()?;
    let followed =
        P::follow(&first).ok().or_else(|| found.find_map(|other| P::follow(&other).ok()));
    Some(followed.unwrap_or(first))
}
