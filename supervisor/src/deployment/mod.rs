//! Deployed functions: read with suspicion, kept on disk, known by name and version.

mod archive;
mod brought;
mod code;
mod deploy;
mod durable;
mod entry;
mod error;
mod folder;
pub mod fuzzing;
mod record;
mod staged;
mod table;
mod trust;
mod variables;

pub use error::FunctionsError;
pub use folder::DeployError;
pub use table::{Function, Functions, Payloads};
pub use variables::{Variables, is_read_at_start};
