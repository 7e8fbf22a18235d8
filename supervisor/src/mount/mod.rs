//! The mount, and the process that serves it.

mod keeper;
mod kept;
mod uses;

pub use keeper::Keeper;
pub use uses::inodes_in_use;
