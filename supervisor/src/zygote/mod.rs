//! Zygotes: interpreters with an environment's packages imported, asleep, ready to fork.

mod bar;
mod conversation;
mod demand;
mod error;
mod fork;
mod give;
mod grow;
mod imports;
mod kind;
mod learn;
mod look;
mod making_standbys;
mod memory;
mod news;
mod node;
mod pool;
mod reads;
mod realms;
mod remembered;
mod spares;
mod standbys;
mod tell;
mod waiting;

pub use error::ZygoteError;
pub use fork::{ForkError, fork};
pub use give::GiveError;
pub use imports::{Unsafe, by_reason};
pub use node::{Forked, Imports, Zygote};
pub use pool::{Budget, Choice, Pool, Slot, State};
pub use waiting::Claimed;
