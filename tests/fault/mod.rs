//! Processes that are killed.

pub mod damage;
pub mod kill;
pub mod service;
pub mod succession;
