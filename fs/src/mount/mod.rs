//! The mount: a thin adapter from the kernel to `vfs`, and the process that runs it.
//!
//! ```text
//! pipsqueakd --(a conversation)--> pipsqueak-fs keep --(a conversation)--> pipsqueak-fs serve
//!  asks things of the mount         has /dev/fuse, asks nothing             has it too, answers
//! ```
//!
//! The supervisor mounts an [`Attachment`], which is the connection to the kernel, and gives it to its
//! keeper, which starts servers on it, one after the other. When one dies, or does not
//! answer the keeper in time, the next takes over the connection with every request that was not
//! answered. Where somebody else keeps the connection too, such as a service manager, the next
//! supervisor takes it over.

mod abort;
mod adopt;
mod attach;
mod connection;
mod control;
mod conversation;
mod errno;
mod fuse;
mod keep;
pub mod mountinfo;
mod predecessor;
mod server;
mod session;

pub use attach::{Attachment, DIALECT, TakeOverError};
pub use connection::FILE_SYSTEM;
pub use control::{Order, Report, Served};
pub use conversation::{AskError, Conversation};
pub use keep::keep;
pub use predecessor::end_keeper;
pub use server::{Orphaned, Role};
pub use session::serve;
