//! Zygotes: interpreters with an environment's packages imported, asleep, ready to fork.

pub mod forest;
mod node;
mod pool;

pub use node::{Forked, Zygote, ZygoteError};
pub use pool::{Key, Pool, Slot, State};
