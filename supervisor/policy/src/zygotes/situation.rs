//! The input of a plan: demand, costs, standing zygotes, and parameters.

use super::choose::ZygoteId;
use super::costs::Costs;
use super::demand::Demand;
use super::names::{Distributions, Modules, Names, Realm};

/// The parameters that the policy weighs by.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    /// Private memory of a zygote besides its imports, in bytes: its tables, its stack, and the pages
    /// of its parent that it writes to.
    pub overhead_bytes: f64,
    /// Private memory of an interpreter that has imported nothing, in bytes.
    pub interpreter_bytes: f64,
    /// Time of an interpreter's start, which a fork avoids, in microseconds.
    pub interpreter_us: f64,
    /// Time of a fork of a zygote without imports, in microseconds.
    pub fork_us: f64,
    /// Time that each MiB of a zygote adds to its fork, in microseconds.
    pub fork_us_per_mib: f64,
    /// Longest path from a root: namespaces nest at most 32 deep, and a sandbox is one deeper.
    pub depth: usize,
    /// Time in which a change must save the work of making it, in seconds.
    pub horizon: f64,
    /// Share of the work of making a zygote that it must save within the horizon to be kept.
    pub idle: f64,
    /// Share by which a whole new forest must be better than one grown from the standing zygotes.
    pub margin: f64,
    /// Time after which a function's start counts half, in seconds.
    pub half_life: f64,
}

impl Default for Parameters {
    /// Fork and interpreter as measured on a machine with two cores, half-lives of five minutes, and a
    /// horizon in which the first start of a function already pays for a zygote of its own.
    fn default() -> Self {
        Self {
            overhead_bytes: 3.0 * 1_048_576.0,
            interpreter_bytes: 6.0 * 1_048_576.0,
            interpreter_us: 15_000.0,
            fork_us: 600.0,
            fork_us_per_mib: 20.0,
            depth: 8,
            horizon: 600.0,
            idle: 0.05,
            margin: 0.02,
            half_life: 300.0,
        }
    }
}

/// A zygote that is ready or being started.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The zygote's number.
    pub id: ZygoteId,
    /// The zygote that it was forked from; none for a root, and if the parent is gone.
    pub parent: Option<ZygoteId>,
    /// The realm of the zygote's children.
    pub realm: Realm,
    /// Distributions whose code the zygote has seen.
    pub distributions: Distributions,
    /// Modules that the zygote has imported, including its parents'.
    pub modules: Modules,
    /// Private memory in bytes, measured.
    pub bytes: f64,
    /// True if a user has given the zygote: it ends under memory pressure alone, and last.
    pub is_given: bool,
}

/// The input of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Names of the numbers.
    pub names: &'a Names,
    /// Costs of modules.
    pub costs: &'a Costs,
    /// Functions and the rates of their starts.
    pub demand: &'a [Demand<'a>],
    /// Zygotes that are ready or being started.
    pub standing: &'a [Standing],
    /// Zygotes that must not be planned, by realm and modules: they have failed a short while ago.
    pub barred: &'a [(Realm, Modules)],
    /// Modules that no zygote may import.
    pub unsafe_modules: &'a Modules,
    /// Maximum memory of all zygotes, in bytes.
    pub budget: f64,
    /// The parameters to weigh by.
    pub parameters: &'a Parameters,
}
