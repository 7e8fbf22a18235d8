//! Why a function starts as it does.

use serde::{Deserialize, Serialize};

/// What is known of a function's starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The function.
    pub function: String,
    /// Whether starts have told what it imports; else it is guessed from its code.
    pub learned: bool,
    /// Why no zygote serves it, whatever there are, if that is so.
    #[serde(default)]
    pub unlike: Option<String>,
    /// What other functions' zygotes have seen otherwise while they imported, so that it gets its own.
    #[serde(default)]
    pub apart: Vec<String>,
    /// New starts a minute; older ones count less.
    pub starts_per_minute: f64,
    /// What it imports, by distribution.
    pub imports: Vec<Imports>,
    /// The zygotes there are; the one that serves it first, then by what they leave to do.
    pub zygotes: Vec<Verdict>,
    /// Interpreters that wait with its packages imported, those included that no zygote imports.
    #[serde(default)]
    pub standbys: u64,
    /// Modules of its environment that no zygote imports.
    pub unsafe_modules: Vec<UnsafeModule>,
}

/// What a function imports of a distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Imports {
    /// `name==version`.
    pub distribution: String,
    /// How many modules.
    pub modules: u64,
    /// What importing them takes, in microseconds: measured by zygotes, or assumed.
    pub us: u64,
    /// Memory of them, in bytes: likewise.
    pub bytes: u64,
}

/// Why a zygote serves a function or does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The zygote's number.
    pub zygote: u64,
    /// Whether it serves the function.
    pub serves: bool,
    /// Why, for a user.
    pub reason: String,
    /// What it leaves to do until the function's imports are there, in microseconds; none where it may
    /// not serve it.
    pub left_us: Option<u64>,
    /// Against an interpreter that is started for the function, in microseconds.
    pub saves_us: Option<u64>,
}

/// A module that no zygote imports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsafeModule {
    /// Its name.
    pub module: String,
    /// What it leaves.
    pub reason: String,
}
