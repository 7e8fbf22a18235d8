//! Workers: each a process in a sandbox of its own that waits to become an instance, and the parts that it
//! is given for that.

mod furnish;
mod start;

pub use furnish::{StartError, furnish};
pub use start::{Ends, PIDS, Worker, WorkerError, sandbox, sandbox_within};
