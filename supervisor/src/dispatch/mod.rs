//! From a client's connection to an answer: `listen` accepts, `connection` speaks the protocol,
//! `route` carries a request out, `gate` holds back what is too much at once, `traffic` counts.

mod connection;
mod gate;
mod listen;
mod route;
mod traffic;

pub use gate::{Gate, Pass};
pub use listen::{ListenError, Socket, serve};
pub use route::After;
pub use traffic::{InFlight, Traffic};
