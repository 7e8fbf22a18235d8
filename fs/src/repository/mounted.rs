//! The mount that shows a repository, as far as a repository has to do with it.

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
