//! Functions: deployed, kept, and run.

mod archive;
mod code;
mod deploy;
mod entry;
mod exchange;
mod instance;
mod table;

pub use deploy::DeployError;
pub use instance::{Answered, Instance, Paused, StartError};
pub use table::{Function, Functions, FunctionsError};
