//! The decision that an invocation begins, waits or is refused: [`Gate`] holds back what is too much at
//! once, and [`Traffic`] counts requests that are under way.

mod gate;
mod traffic;

pub use gate::{Gate, Refused, Turn, Vacated, seconds};
pub use traffic::{InFlight, Traffic};
