//! An instance of a function: its process in a sandbox, with one invocation or several at a time;
//! paused, resumed, ended.

mod answered;
mod ended;
mod exchange;
mod lifecycle;
mod parts;
mod printed;
mod shared;

pub use answered::{Answered, Reached};
pub use lifecycle::{Instance, Origin, Paused};
pub use parts::{Given, Streams};
