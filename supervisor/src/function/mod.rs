//! Functions: deployed, kept, and run.

mod answered;
mod archive;
mod brought;
mod code;
mod deploy;
mod durable;
mod entry;
mod error;
mod exchange;
mod furnish;
pub mod fuzzing;
mod instance;
mod parts;
mod printed;
mod record;
mod shared;
mod staged;
mod table;
mod trust;
mod variables;

pub use answered::{Answered, Reached};
pub use deploy::DeployError;
pub use error::FunctionsError;
pub use furnish::{StartError, furnish};
pub use instance::{Instance, Origin, Paused};
pub use parts::{Given, Streams};
pub use table::{Function, Functions, Payloads};
pub use variables::{Variables, is_read_at_start};
