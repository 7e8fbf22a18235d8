//! Requests of clients, and their answers.

pub mod admission;
pub mod answers;
pub mod bad_input;
pub mod concurrency;
pub mod configuration;
pub mod documentation;
pub mod events;
pub mod index;
pub mod interpreters;
pub mod lifecycle;
pub mod limits;
pub mod logs;
pub mod misbehaving;
pub mod nat;
pub mod programs;
pub mod protocol;
pub mod requirements;
pub mod sealed;
pub mod secrets;
pub mod streaming;
pub mod terminal;
pub mod tiers;
