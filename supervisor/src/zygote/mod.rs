//! Zygotes: interpreters with an environment's packages imported, asleep, ready to fork.

mod imports;
mod node;
mod pool;

pub use imports::{Imported, Unsafe};
pub use node::{Forked, Imports, Zygote, ZygoteError};
pub use pool::{Key, Pool, Slot, State};
