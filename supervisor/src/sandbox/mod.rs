//! Sandboxes: where package code and function code run, and nothing else of theirs does.
//!
//! Two processes make them. `maker` is the one that does it, by an `order`. All else is the supervisor's:
//! `sandboxes` asks for a sandbox, `maker_process` starts the maker and brings it orders, `users` gives out numbers
//! of users, and `ushers` says who may enter. A [`Sandbox`] that is dropped is taken down whole by the thread in
//! `teardown`.

mod changes;
mod commons;
mod door;
mod error;
mod exits;
pub mod failure;
mod handle;
pub mod host_names;
mod maker;
mod maker_process;
mod order;
mod places;
mod sandboxes;
mod stages;
mod teardown;
mod users;
mod ushers;

pub use commons::Commons;
pub use door::Door;
pub use error::{EndError, SandboxError};
pub use exits::{End, Exits};
pub use handle::Sandbox;
pub use maker::run as run_maker;
pub use order::{Exit, Standing};
pub use places::{ENVIRONMENT, FUNCTION, Mounted, RUNTIME, SYSTEM};
pub use sandboxes::{Plan, Process, Program, Sandboxes};
pub use users::{INSTALLER, host_user};
pub use ushers::Ushers;
