//! From a client's connection to an answer: `listen` accepts on a `socket`, one of `event_loops` serves,
//! `connection` speaks the protocol, `route` carries a request out, `streamed` passes on what comes
//! meanwhile, `follow` sends logs, `gate` holds back what is too much at once, as `fair` decides,
//! `traffic` counts. The `lock` says whose the socket is.

mod connection;
mod event_loops;
mod follow;
mod gate;
mod listen;
mod lock;
mod route;
mod socket;
mod streamed;
mod traffic;

pub use event_loops::EventLoops;
pub use gate::{Gate, Refused, Turn, Vacated, seconds};
pub use listen::serve;
pub use lock::LockError;
pub use route::After;
pub use socket::{ListenError, Socket};
pub use traffic::{InFlight, Traffic};
