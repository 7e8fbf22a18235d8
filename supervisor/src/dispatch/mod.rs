//! The way from a client's connection to an answer: `listen` accepts on a `socket`, one of
//! `event_loops` serves, `connection` speaks the protocol in `frames`, `route` carries a request out,
//! `streamed` passes on what is streamed, `follow` sends logs. The `lock` tells which supervisor has
//! the socket.

mod connection;
mod event_loops;
mod follow;
mod frames;
mod listen;
mod lock;
mod route;
mod socket;
mod streamed;

pub use event_loops::EventLoops;
pub use listen::serve;
pub use lock::LockError;
pub use socket::{ListenError, Socket};
