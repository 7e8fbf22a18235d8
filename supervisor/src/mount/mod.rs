//! The mount, the process that keeps it served, its views, and their users.

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
