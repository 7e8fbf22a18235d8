//! What is dropped, and when: pure decisions, without a process, a file or a clock, so that tests and
//! `tools/bench eviction` run the code that decides.
//!
//! `policy` says what something that is kept is worth, `cache` keeps it in that order; `pressure` decides
//! how much may be kept while memory is short, and `allowance` is where everybody reads it.

mod allowance;
mod cache;
mod policy;
mod pressure;

pub use allowance::Allowance;
pub use cache::Cache;
pub use policy::{Policy, Use};
pub use pressure::{Judge, Reading};
