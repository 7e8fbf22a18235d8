//! What is remembered of functions from one run of the supervisor to the next.

use std::collections::HashMap;

use pipsqueak_policy::zygotes::ModuleId;
use serde::{Deserialize, Serialize};

/// What is remembered of a function; its modules by their places in the list of all, or by their
/// numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Remembered<M> {
    /// Its version.
    pub version: u64,
    /// Key of its environment's tree.
    pub tree: String,
    /// Starts a second, as of when it was kept.
    pub rate: f64,
    /// The modules that its starts import.
    pub modules: Vec<M>,
}

/// What is remembered of functions that were neither deployed again nor started since.
pub(super) type Recalled = HashMap<String, Remembered<ModuleId>>;
