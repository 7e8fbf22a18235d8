//! Functions: deployed, kept, and run.

mod deploy;
mod entry;
mod exchange;
mod instance;
mod table;

pub use deploy::DeployError;
pub use instance::{Answered, Born, Instance, Paused, StartError, resolver_mount};
pub use table::{Function, Functions, FunctionsError};
