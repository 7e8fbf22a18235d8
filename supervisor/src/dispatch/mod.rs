//! From a client's connection to an answer: `listen` accepts on a `socket`, `connection` speaks the protocol,
//! `route` carries a request out, `gate` holds back what is too much at once, `traffic` counts.

mod connection;
mod gate;
mod listen;
mod route;
mod socket;
mod traffic;

pub use gate::{Gate, Pass};
pub use listen::serve;
pub use route::After;
pub use socket::{ListenError, Socket};
pub use traffic::{InFlight, Traffic};
