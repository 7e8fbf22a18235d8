//! Settings: the places of an instance, and the limits of its use.

mod amount;
mod choice;
mod count;
#[macro_use]
mod define;
mod error;
mod eviction;
mod explain;
mod file;
mod index;
mod installed;
mod kind;
mod log_level;
mod logs;
mod modules;
#[cfg(test)]
mod page;
mod place;
mod program;
mod range;
mod resolve;
mod secrets;
pub mod shim;
mod table;
mod tiers;
mod variables;

pub use error::SettingsError;
pub use eviction::Eviction;
pub use explain::{Origin, Setting};
pub use index::Index;
pub use log_level::LogLevel;
pub use program::find_program;
pub use range::{Range, RangeError};
pub use resolve::run_folder;
pub use secrets::Secrets;
pub use table::{Flag, Overrides, Row, Scope, Settings, TABLE, flags};
pub use tiers::{Tiers, TiersError};
pub use variables::{CONFIG_FILE, config_file};
