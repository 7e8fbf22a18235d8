//! Zygotes: interpreters with an environment's packages imported, asleep, ready to fork.

mod demand;
pub mod forest;
mod node;
mod pool;
mod spare;
mod spares;

pub use node::{Forked, Zygote, ZygoteError};
pub use pool::{Budget, Key, Pool, Slot, State};
pub use spare::{PIDS, Spare, SpareError};
