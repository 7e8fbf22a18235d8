//! Decisions of the supervisor: pure functions of data. No process, file, clock or task is in reach of
//! this crate, so that tests, `tools/bench` and the supervisor run the same code.
//!
//! - [`scan`] finds the imports in the source of a function.
//! - [`zygotes`] decides which zygotes there should be, and which of them serves a function.
//! - [`fairness`] decides which invocation begins next, and in which place.
//! - [`eviction`] decides which kept items are dropped, and how many bytes may be kept.

pub mod eviction;
pub mod fairness;
pub mod scan;
pub mod zygotes;
