//! The order in which paused sandboxes are dropped.

use super::choice::Choice;

/// Policy that says which paused sandbox is dropped first, if there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eviction {
    /// The least recently used sandbox.
    #[default]
    Lru,
    /// The sandbox that saves least time per byte, by the calls of its function and the time of a start:
    /// greedy-dual-size-frequency.
    GreedyDual,
}

impl Choice for Eviction {
    const WHAT: &'static str = "policy of eviction";
    const NAME: &'static str = "POLICY";
    const EXAMPLE: &'static str = "\"greedy-dual\"";
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Lru, "lru"), (Self::GreedyDual, "greedy-dual")];
}
