//! Decisions about zygotes: the tree that there should be, and the zygote that serves a function. This
//! is policy alone, without clocks, processes or files. Time is passed in; numbers stand for names
//! ([`Names`]).
//!
//! Data flows one way. Starts report the imports of functions and their costs ([`demand`], [`costs`]).
//! The [`mod@plan`] turns these, a budget and the standing zygotes into a list of changes. For each
//! start [`mod@choose`] finds the zygote that leaves the least to do.

pub mod choose;
pub mod costs;
pub mod demand;
pub mod given;
pub mod names;
pub mod plan;
pub mod policy;
mod problem;
mod search;
pub mod set;
pub mod situation;
#[cfg(test)]
mod tests;
mod trees;

pub use choose::{Fitness, Verdict, Zygote, ZygoteId, choose, explain};
pub use costs::{Cost, Costs};
pub use demand::{Demand, Environment, Function, Rate};
pub use names::{DistributionId, Distributions, Module, ModuleId, Modules, Names, Realm};
pub use plan::{Parent, Plan, Start, plan, shrink};
pub use policy::{Imported, Policy};
pub use set::{Id, Set};
pub use situation::{Parameters, Situation, Standing};
