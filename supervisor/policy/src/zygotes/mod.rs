//! Which zygotes there should be, and which of them serves a function: policy alone, without clocks,
//! processes or files. Time is passed in; numbers stand for names ([`Names`]).
//!
//! Data flows one way. Starts tell what functions import and what that costs ([`demand`],
//! [`costs`]); the [`mod@plan`] makes of that, a budget and what stands a list of changes; the
//! [`mod@choose`] finds for each start the zygote that leaves least to do.

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
