//! Eviction of kept items: pure decisions, without a process, a file or a clock, so that tests and
//! `tools/bench eviction` run the code that decides.
//!
//! `policy` computes the worth of a kept item, and `cache` keeps the items in that order. `pressure`
//! decides how much may be kept while memory is short, and `allowance` is the number that all readers
//! share.

mod allowance;
mod cache;
mod policy;
mod pressure;

pub use allowance::Allowance;
pub use cache::Cache;
pub use policy::{Policy, Use};
pub use pressure::{Judge, Reading};
