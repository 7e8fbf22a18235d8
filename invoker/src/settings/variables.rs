//! Environment variables.

use std::ffi::OsString;
use std::path::PathBuf;

/// The configuration file that is read if `PIPSQUEAK_CONFIG` names no other.
pub const CONFIG_FILE: &str = "/etc/pipsqueak/config.toml";

/// The variable that names the configuration file.
pub(super) const CONFIG: &str = "PIPSQUEAK_CONFIG";

/// Environment variables; an empty one counts as none.
pub(super) struct Variables<'a>(pub(super) &'a dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    /// The variables of this process.
    pub(super) const OF_PROCESS: Variables<'static> = Variables(&|name| std::env::var_os(name));

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// The value of a variable that has a path.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// The path of the configuration file, and true if a variable names it.
    pub(super) fn config_file(&self) -> (PathBuf, bool) {
        let said = self.path(CONFIG);
        (said.clone().unwrap_or_else(|| CONFIG_FILE.into()), said.is_some())
    }
}

/// The configuration file that is read.
pub fn config_file() -> PathBuf {
    Variables::OF_PROCESS.config_file().0
}
