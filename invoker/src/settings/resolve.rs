//! The settings in force: by flag, then variable, then file, then default.

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::SettingsError;
use super::place::absolute;
use super::table::{File, Overrides, RUN, RUN_VARIABLE, Settings, flags};
use super::variables::Variables;

impl Settings {
    /// Resolves all settings of this process.
    pub fn resolve(flags: Overrides) -> Result<Self, SettingsError> {
        Self::resolve_with(flags, &Variables::OF_PROCESS)
    }

    pub(super) fn resolve_with(
        flags: Overrides,
        variables: &Variables,
    ) -> Result<Self, SettingsError> {
        Self::of(flags, variables, File::of(variables)?)
    }

    /// Flags that say all of these settings that flags can say.
    pub fn flags(&self) -> Vec<OsString> {
        let said = flags().filter_map(|(row, flag)| Some([flag.name.into(), (row.write)(self)?]));
        said.flatten().collect()
    }
}

/// The folder of the socket: all that a client has to know. Reads the configuration file only if neither
/// flag nor variable says it.
pub fn run_folder(flags: &Overrides) -> Result<PathBuf, SettingsError> {
    run_folder_with(flags, &Variables::OF_PROCESS)
}

fn run_folder_with(flags: &Overrides, variables: &Variables) -> Result<PathBuf, SettingsError> {
    let said = flags.run.clone().or_else(|| variables.get(RUN_VARIABLE));
    let path = match said {
        Some(path) => path.into(),
        None => File::of(variables)?.run.map_or_else(|| RUN.into(), |written| written.0),
    };
    absolute(path)
}

#[cfg(test)]
mod tests;
