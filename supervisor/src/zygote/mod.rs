//! Zygotes: interpreters with an environment's packages imported, asleep, ready to fork.

mod demand;
pub mod forest;
mod imports;
mod node;
mod pool;
mod spare;
mod spares;

pub use imports::{Imported, Unsafe};
pub use node::{Forked, Imports, Zygote, ZygoteError};
pub use pool::{Budget, Key, Pool, Slot, State};
pub use spare::{PIDS, Spare, SpareError};
