//! The machine's control groups. (System calls are the crate `pipsqueak-kernel`.)

pub mod cgroup;
mod dynmods;
