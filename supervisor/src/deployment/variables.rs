//! The environment variables of a function's processes.

use std::collections::BTreeMap;

use pipsqueak::wire::FunctionInfo;

use crate::runtime;
use crate::sandbox::FUNCTION;

/// Names that the C library or the interpreter reads when a process starts, and never again. Others of the
/// sort begin with one of [`AT_START_PREFIXES`].
const AT_START: [&str; 5] = ["TZ", "TZDIR", "LANG", "LANGUAGE", "LOCPATH"];
const AT_START_PREFIXES: [&str; 5] = ["PYTHON", "LC_", "MALLOC_", "GLIBC_", "LD_"];
/// Of these, names of what may be in a function's own folder, which no zygote sees.
const OF_OWN_FILES: [&str; 8] = [
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX",
    "PYTHONBREAKPOINT",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
];

/// Names of the variables by which AWS tells a function about itself.
const TOLD: [&str; 7] = [
    "_HANDLER",
    "LAMBDA_TASK_ROOT",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
];

/// The variables that a process has beside everybody's: of a function, those that tell it about itself and
/// its own; of a zygote, as many of these as make a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

#[cfg(test)]
impl From<BTreeMap<String, String>> for Variables {
    fn from(all: BTreeMap<String, String>) -> Self {
        Self(all)
    }
}

impl Variables {
    /// Those of a deployed function.
    pub fn of(info: &FunctionInfo) -> Self {
        let told = [
            info.handler.clone(),
            FUNCTION.to_owned(),
            info.name.clone(),
            info.version.to_string(),
            (info.memory >> 20).to_string(),
            "on-demand".to_owned(),
            format!("/aws/lambda/{}", info.name),
        ];
        let told = TOLD.into_iter().map(ToOwned::to_owned).zip(told);
        let mut all: BTreeMap<_, _> = told.collect();
        all.extend(info.variables.clone());
        Self(all)
    }

    /// All of them.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Those that are named, as far as they are there.
    #[must_use]
    pub fn only<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let found = names.into_iter().filter_map(|name| self.0.get_key_value(name));
        Self(found.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether a variable is one of those by which AWS tells a function about itself.
    pub fn is_told(name: &str) -> bool {
        TOLD.contains(&name)
    }

    /// What a variable is in the function's processes, if anything.
    pub fn value(&self, name: &str) -> Option<&str> {
        let everybodys = || runtime::VARIABLES.iter().find(|(other, _)| *other == name);
        let own = self.0.get(name).map(String::as_str);
        own.or_else(|| everybodys().map(|(_, value)| *value))
    }

    /// The variable, if any, for which no zygote can have been started.
    pub fn of_own_files(&self) -> Option<&str> {
        OF_OWN_FILES.into_iter().find(|name| self.0.contains_key(*name))
    }
}

/// Whether a variable is without effect once a process has started.
pub fn is_read_at_start(name: &str) -> bool {
    AT_START.contains(&name) || AT_START_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
