//! Reclaiming what nobody reaches, while everything runs.
//!
//! `mark` says what is reached from the roots, `plan` what is to go of the rest: both pure, from one
//! [`crate::catalog::Snapshot`]. `collect` carries a plan out, `compact` rewrites segments, `usage`
//! says what all of it costs, `hold` keeps what is in use meanwhile.
//!
//! Whatever goes is first out of reach for the grace period. Then its names go, then its index, then
//! the mount forgets it, then the catalog, and its segments' files are last. What a crash interrupts
//! is done by the next collection.

pub mod clock;
pub mod collect;
mod compact;
pub mod hold;
pub mod mark;
pub mod plan;
pub mod reserve;
pub mod usage;

use std::io;

use crate::id::ObjectId;

/// The mount that shows a repository, as far as its care has to do with it.
pub trait Mounted {
    /// Lets it show what the folder of views says now: views that are gone, indexes that were
    /// written anew, and the names that were published. The kernel forgets what it knew of `names`.
    fn reload(&self, names: &[String]) -> io::Result<()>;

    /// Objects that readers have found to be damaged.
    fn suspects(&self) -> io::Result<Vec<ObjectId>>;
}
