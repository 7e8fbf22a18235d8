//! From a client's connection to an answer: `listen` accepts, `connection` speaks the protocol,
//! `route` carries a request out, `follow` sends logs, `gate` holds back what is too much at once, `traffic` counts.

mod connection;
mod follow;
mod gate;
mod listen;
mod route;
mod traffic;

pub use gate::{Gate, Pass};
pub use listen::{ListenError, Socket, serve};
pub use route::After;
pub use traffic::{InFlight, Traffic};
