//! Knowledge about functions that is kept from one run of the supervisor to the next.

use std::collections::HashMap;

use pipsqueak_policy::zygotes::ModuleId;
use serde::{Deserialize, Serialize};

/// Knowledge about a function. `M` gives modules by their places in the stored list, or by their numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Remembered<M> {
    /// The function's version.
    pub version: u64,
    /// Key of its environment's tree.
    pub tree: String,
    /// Starts a second, at the time of the save.
    pub rate: f64,
    /// Modules that its starts import.
    pub modules: Vec<M>,
}

/// Knowledge about functions that were neither deployed again nor started since.
pub(super) type Recalled = HashMap<String, Remembered<ModuleId>>;
