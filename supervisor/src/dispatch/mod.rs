//! From a client's connection to an answer: `listen` accepts, `connection` speaks the protocol,
//! `route` carries a request out, `gate` holds back what is too much at once.

mod connection;
mod gate;
mod listen;
mod route;

pub use gate::{Gate, Pass};
pub use listen::{ListenError, Socket, serve};
pub use route::After;
