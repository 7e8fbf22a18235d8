//! The environment variables of a function's processes.

use std::collections::BTreeMap;

use pipsqueak::wire::FunctionInfo;

use crate::runtime;
use crate::sandbox::FUNCTION;

/// Variables that the C library or the interpreter reads when a process starts, and never again.
/// Further ones begin with one of [`AT_START_PREFIXES`].
const AT_START: [&str; 5] = ["TZ", "TZDIR", "LANG", "LANGUAGE", "LOCPATH"];
const AT_START_PREFIXES: [&str; 5] = ["PYTHON", "LC_", "MALLOC_", "GLIBC_", "LD_"];
/// Those of the variables read at start that may name files in the function's folder, which no zygote sees.
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

/// Variables that AWS sets to tell a function about itself.
const TOLD: [&str; 7] = [
    "_HANDLER",
    "LAMBDA_TASK_ROOT",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
];

/// Variables of a process besides those that every process has. For a function: those about itself, and
/// its own. For a zygote: those among them that make a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

#[cfg(test)]
impl From<BTreeMap<String, String>> for Variables {
    fn from(all: BTreeMap<String, String>) -> Self {
        Self(all)
    }
}

impl Variables {
    /// Variables of a deployed function.
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

    /// All of these variables.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The variables whose names are in `names`.
    #[must_use]
    pub fn only<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let found = names.into_iter().filter_map(|name| self.0.get_key_value(name));
        Self(found.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Names of these variables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// True if AWS sets the variable to tell a function about itself.
    pub fn is_told(name: &str) -> bool {
        TOLD.contains(&name)
    }

    /// Value of a variable in the function's processes, if it is set there.
    pub fn value(&self, name: &str) -> Option<&str> {
        let everybodys = || runtime::VARIABLES.iter().find(|(other, _)| *other == name);
        let own = self.0.get(name).map(String::as_str);
        own.or_else(|| everybodys().map(|(_, value)| *value))
    }

    /// A variable that may name files of the function, so that no zygote can be started with it; if
    /// there is one.
    pub fn of_own_files(&self) -> Option<&str> {
        OF_OWN_FILES.into_iter().find(|name| self.0.contains_key(*name))
    }
}

/// True if a variable is without effect once a process has started.
pub fn is_read_at_start(name: &str) -> bool {
    AT_START.contains(&name) || AT_START_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
