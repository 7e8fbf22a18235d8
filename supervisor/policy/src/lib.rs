//! What the supervisor decides by: pure functions of data. No process, file, clock or task is in
//! reach of this crate, so that tests, `tools/bench` and the supervisor run the same code.
//!
//! - [`scan`] finds in the source of a function what it imports.
//! - [`zygotes`] decides which zygotes there should be, and which of them serves a function.
//! - [`fairness`] decides which invocation begins next, and where.
//! - [`eviction`] decides what is dropped, and how much may be kept.

pub mod eviction;
pub mod fairness;
pub mod scan;
pub mod zygotes;
