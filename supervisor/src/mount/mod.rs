//! The mount, and the process that serves it.

mod keeper;

pub use keeper::Keeper;
