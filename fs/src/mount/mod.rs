//! The mount: a thin adapter from the kernel to [`crate::vfs`], and the process that runs it.
//!
//! The supervisor holds an [`Attachment`], which is the connection to the kernel, and starts
//! [`Server`]s on it, one after the other: each is a `pipsqueak-fs` process. When one dies, the
//! next takes over the connection with every request that was not answered. Where somebody else
//! keeps the connection too, such as a service manager, the next supervisor takes it over.

mod adopt;
mod attach;
mod connection;
mod control;
mod errno;
mod fuse;
pub mod mountinfo;
mod predecessor;
mod server;
mod session;

pub use attach::{Attachment, DIALECT, FILE_SYSTEM, TakeOverError};
pub use server::{Orphaned, Role, Server};
pub use session::serve;
