//! What something that is kept is worth.

use std::time::Duration;

/// How something that is kept was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// How often its owner's were, since the owner last had none.
    pub count: u64,
    /// What a start takes that does not find it.
    pub start: Duration,
    /// Its size.
    pub bytes: u64,
}

/// Puts what is kept in an order: the least worth goes first, and among equals what was kept first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Policy {
    /// Least recently used first: all is worth the same.
    Lru,
    /// Greedy dual, by size and frequency (Cherkasova 1998; `FaasCache`, Fuerst and Sharma 2021): the
    /// time that a byte of it has saved, on top of a clock. What is used again is put ahead of the clock
    /// anew, and what is not is overtaken by it.
    GreedyDual {
        /// The worth of what has gone last.
        clock: f64,
    },
}

impl Policy {
    /// Greedy dual before anything was kept.
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

    /// Hears what was worth that has gone to make room.
    pub fn made_room(&mut self, worth: f64) {
        match self {
            Self::Lru => {}
            Self::GreedyDual { clock } => *clock = worth,
        }
    }
}
