//! Processes that are killed.

pub mod kill;
