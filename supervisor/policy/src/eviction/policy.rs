//! The worth of a kept item.

use std::time::Duration;

/// The history of a kept item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// Uses of the owner's items since the owner last had none.
    pub count: u64,
    /// Time of a start that does not find the item.
    pub start: Duration,
    /// Size of the item, in bytes.
    pub bytes: u64,
}

/// The order of eviction: the least worth goes first, and among equals the item that was kept first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Policy {
    /// Least recently used first: all items are worth the same.
    Lru,
    /// Greedy dual, by size and frequency (Cherkasova 1998; `FaasCache`, Fuerst and Sharma 2021): the
    /// time that a byte of the item has saved, on top of a clock. Each use puts an item ahead of the
    /// clock again; the clock overtakes an item that is not used.
    GreedyDual {
        /// The worth of the item that was evicted last.
        clock: f64,
    },
}

impl Policy {
    /// The greedy-dual policy before anything was kept.
    pub fn greedy_dual() -> Self {
        Self::GreedyDual { clock: 0.0 }
    }

    /// The current worth of a kept item.
    #[expect(clippy::cast_precision_loss, reason = "sizes and counts, far below 2^52")]
    pub fn worth(&self, of: &Use) -> f64 {
        match self {
            Self::Lru => 0.0,
            Self::GreedyDual { clock } => {
                clock + of.count as f64 * of.start.as_secs_f64() / of.bytes.max(1) as f64
            }
        }
    }

    /// Notes the worth of an item that was evicted to make room.
    pub fn made_room(&mut self, worth: f64) {
        match self {
            Self::Lru => {}
            Self::GreedyDual { clock } => *clock = worth,
        }
    }
}
