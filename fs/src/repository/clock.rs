//! The time by which grace periods are measured.
//!
//! The clock goes on while a supervisor has the store open, and stands still otherwise: whatever the
//! machine's own clock is set to, nothing goes before somebody could have asked for it again.

use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// Milliseconds, from where an earlier supervisor has left it.
#[derive(Debug)]
pub struct Clock(Mutex<(Instant, Duration)>);

impl Clock {
    /// Goes on from a time that was written down.
    pub fn from(then: u64) -> Self {
        Self(Mutex::new((Instant::now(), Duration::from_millis(then))))
    }

    /// The time.
    pub fn now(&self) -> u64 {
        let (began, then) = *self.0.lock();
        let now = then.saturating_add(began.elapsed());
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }

    /// Moves the clock on, as if so much time had passed.
    #[cfg(test)]
    pub fn pass(&self, time: Duration) {
        self.0.lock().1 += time;
    }
}
