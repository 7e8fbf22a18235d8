//! The reasons that a function starts as it does.

use serde::{Deserialize, Serialize};

/// Knowledge of a function's starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The function.
    pub function: String,
    /// True if starts have told the imports; else they are guessed from the function's code.
    pub learned: bool,
    /// Reason that no zygote serves the function, whatever zygotes there are.
    #[serde(default)]
    pub unlike: Option<String>,
    /// Things that other functions' zygotes saw differently while they imported, so that the function
    /// gets its own zygotes.
    #[serde(default)]
    pub apart: Vec<String>,
    /// New starts a minute; older ones count less.
    pub starts_per_minute: f64,
    /// Imports of the function, by distribution.
    pub imports: Vec<Imports>,
    /// The zygotes there are: first the one that serves the function, then the others by the work that
    /// they leave.
    pub zygotes: Vec<Verdict>,
    /// Interpreters that wait with its packages imported, those included that no zygote imports.
    #[serde(default)]
    pub standbys: u64,
    /// Modules of its environment that no zygote imports.
    pub unsafe_modules: Vec<UnsafeModule>,
}

/// Imports of a function from one distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Imports {
    /// `name==version`.
    pub distribution: String,
    /// Number of modules.
    pub modules: u64,
    /// Time of the imports, in microseconds: measured by zygotes, or assumed.
    pub us: u64,
    /// Memory of the modules, in bytes: measured or assumed, too.
    pub bytes: u64,
}

/// Judgement of one zygote for a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The zygote's number.
    pub zygote: u64,
    /// True if the zygote serves the function.
    pub serves: bool,
    /// Reason, for a user.
    pub reason: String,
    /// Time until the function's imports are there, in microseconds; none if the zygote may not serve the
    /// function.
    pub left_us: Option<u64>,
    /// Time that the zygote saves against an interpreter that is started for the function, in microseconds.
    pub saves_us: Option<u64>,
}

/// A module that no zygote imports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsafeModule {
    /// The module's name.
    pub module: String,
    /// The thing that the import leaves behind.
    pub reason: String,
}
