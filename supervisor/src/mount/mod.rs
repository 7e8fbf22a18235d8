//! The mount, the process that serves it, its views, and who has them.

mod devices;
mod held;
mod hidden;
mod keeper;
mod keeper_process;
mod kept;
pub mod mountinfo;
mod overlays;
pub mod uses;
mod view;

pub use keeper::Keeper;
pub use view::{View, Views};
