//! Reclaiming what nobody reaches, while everything runs.
//!
//! `mark` says what is reached from the roots, `plan` what is to go of the rest: both pure, from one snapshot
//! of the catalog. `collect` carries a plan out. `compact` rewrites segments, and removes empty ones.
//! `usage` says what all of it costs, by what `disk` has measured.
//!
//! Whatever goes is first out of reach for the grace period. Then its names go, then its index, then
//! the mount forgets it, then the catalog, and its segments' files are last. What a crash interrupts
//! is done by the next collection.

mod collect;
mod compact;
pub(crate) mod disk;
pub(crate) mod mark;
mod plan;
mod usage;

pub use collect::{Collected, collect, usage, would_collect};
pub(crate) use compact::remove_empty;
pub use mark::Roots;
pub use usage::{Cost, Usage};
