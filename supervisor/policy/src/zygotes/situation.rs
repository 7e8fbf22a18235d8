//! All that a plan is made from: what is asked for, what it costs, what stands, and how it is weighed.

use super::choose::ZygoteId;
use super::costs::Costs;
use super::demand::Demand;
use super::names::{Distributions, Modules, Names, Realm};

/// What the policy weighs by.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    /// Private memory of a zygote besides its imports: its tables, its stack, and what of its
    /// parent's memory it writes to, in bytes.
    pub overhead_bytes: f64,
    /// Private memory of an interpreter that has imported nothing, in bytes.
    pub interpreter_bytes: f64,
    /// The start of an interpreter, which no fork from any zygote pays, in microseconds.
    pub interpreter_us: f64,
    /// The fork of a zygote without imports, in microseconds.
    pub fork_us: f64,
    /// What each MiB of a zygote adds to its fork, in microseconds.
    pub fork_us_per_mib: f64,
    /// Longest path from a root: namespaces nest at most 32 deep, and a sandbox is one deeper.
    pub depth: usize,
    /// In which time a change must have saved the work of making it, in seconds.
    pub horizon: f64,
    /// A zygote that saves less in the horizon than this share of the work of making it goes.
    pub idle: f64,
    /// By which share a whole new forest must be better than one grown from what stands.
    pub margin: f64,
    /// After which time a function's starts count half, in seconds.
    pub half_life: f64,
}

impl Default for Parameters {
    /// Fork and interpreter as measured on a machine with two cores; half-lives of five minutes, and a
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

/// A zygote that is there, or is being started.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its number.
    pub id: ZygoteId,
    /// Whom it was forked from; none for a root, and for one whose parent is gone.
    pub parent: Option<ZygoteId>,
    /// Where its children are.
    pub realm: Realm,
    /// All whose code it has seen.
    pub distributions: Distributions,
    /// What it has imported, its parents' imports included.
    pub modules: Modules,
    /// Private memory in bytes, measured.
    pub bytes: f64,
    /// Whether a user has given it: it goes under pressure alone, and last.
    pub is_given: bool,
}

/// All that a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// What the numbers stand for.
    pub names: &'a Names,
    /// What modules cost.
    pub costs: &'a Costs,
    /// What is asked for.
    pub demand: &'a [Demand<'a>],
    /// What is there.
    pub standing: &'a [Standing],
    /// What must not be planned: starts of these have failed a short while ago, or their modules do
    /// not survive a fork.
    pub barred: &'a [(Realm, Modules)],
    /// Modules that no zygote may import.
    pub unsafe_modules: &'a Modules,
    /// Most memory of all zygotes, in bytes.
    pub budget: f64,
    /// What to weigh by.
    pub parameters: &'a Parameters,
}
