//! How long the runs of a function have taken lately.

use std::time::Duration;

/// Number of remembered run times of a function.
const RECENT: usize = 8;
/// Run times since the function was last idle that are needed to estimate the wait in its queue.
const EVIDENCE: usize = 4;
/// Recent run times, the newest first, without runs that a timeout cut off: those do not tell how long
/// the next one takes.
#[derive(Debug, Default)]
pub(super) struct RunTimes {
    recent: [Duration; RECENT],
    known: usize,
    /// Number of them that ended since the function was last idle.
    pub of_now: usize,
}

impl RunTimes {
    /// Adds a run.
    pub fn note(&mut self, ran: Duration) {
        self.recent.rotate_right(1);
        self.recent[0] = ran;
        self.known = RECENT.min(self.known + 1);
        self.of_now = RECENT.min(self.of_now + 1);
    }

    /// The shortest recent run time.
    pub fn least(&self) -> Option<Duration> {
        self.recent[..self.known].iter().min().copied()
    }

    /// The median of the run times since the function was last idle, if there are enough of them.
    pub fn median_of_now(&self) -> Option<Duration> {
        let mut of_now = self.recent;
        let of_now = &mut of_now[..self.of_now];
        of_now.sort_unstable();
        (of_now.len() >= EVIDENCE).then(|| of_now[(of_now.len() - 1) / 2])
    }
}
