//! Whether an invocation begins, waits or is refused: [`Gate`] holds back what is too much at once, and
//! [`Traffic`] counts what is under way.

mod gate;
mod traffic;

pub use gate::{Gate, Refused, Turn, Vacated, seconds};
pub use traffic::{InFlight, Traffic};
