//! The machine's control groups, and what it says of its memory. (System calls are the crate `pipsqueak-kernel`.)

pub mod cgroups;
mod dynmods;
pub mod files;
pub mod pressure;
