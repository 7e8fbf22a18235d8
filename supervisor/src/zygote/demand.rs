//! The rate of starts from a zygote, and the number of children that should therefore wait.

use std::time::{Duration, Instant};

/// Time after which a start counts half.
const HALF_LIFE: Duration = Duration::from_secs(10);
/// Time after the last start for which a spare is kept.
const KEPT: Duration = Duration::from_secs(600);
/// Assumed time of making a spare before one was made.
const FIRST_GUESS: Duration = Duration::from_millis(10);

/// The demand for one zygote's children. The caller passes the time.
#[derive(Debug)]
pub struct Demand {
    /// Starts, each counting half after [`HALF_LIFE`], as of `last`.
    weight: f64,
    last: Instant,
    /// Time of making a spare, as a running mean.
    making: Duration,
}

impl Demand {
    /// The demand for a zygote that is made because of one start.
    pub fn new(now: Instant) -> Self {
        Self { weight: 1.0, last: now, making: FIRST_GUESS }
    }

    /// Counts a start from the zygote.
    pub fn started(&mut self, now: Instant) {
        self.weight = self.weight_at(now) + 1.0;
        self.last = now;
    }

    /// Notes that a spare was made, and the time that it took.
    pub fn made(&mut self, took: Duration) {
        self.making = (self.making * 7 + took) / 8;
    }

    /// Starts a second.
    pub fn rate(&self, now: Instant) -> f64 {
        self.weight_at(now) * std::f64::consts::LN_2 / HALF_LIFE.as_secs_f64()
    }

    /// Number of spares that should wait, at most `most`: one, and those that starts ask for while one is
    /// made. That is two standard deviations above the mean, if starts are independent of each other.
    pub fn spares(&self, now: Instant, most: usize) -> usize {
        if now.saturating_duration_since(self.last) > KEPT {
            return 0;
        }
        let meanwhile = self.rate(now) * self.making.as_secs_f64();
        let more = (meanwhile + 2.0 * meanwhile.sqrt()).round();
        // The number is rounded, not negative, and small.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let more = more as usize;
        most.min(1 + more)
    }

    fn weight_at(&self, now: Instant) -> f64 {
        let halves =
            now.saturating_duration_since(self.last).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.weight * (-halves).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_starts(count: u32, pace: Duration) -> (Demand, Instant) {
        let mut now = Instant::now();
        let mut demand = Demand::new(now);
        for _ in 0..count {
            now += pace;
            demand.started(now);
        }
        (demand, now)
    }

    #[test]
    fn more_wait_where_more_are_asked_for() {
        let (rare, now) = after_starts(10, Duration::from_secs(5));
        assert_eq!(rare.spares(now, 8), 1);
        let (often, now) = after_starts(1000, Duration::from_millis(5));
        assert!(often.rate(now) > 50.0);
        let wanted = often.spares(now, 8);
        assert!((2..=4).contains(&wanted), "{wanted}");
        assert_eq!(often.spares(now, 1), 1);
        assert_eq!(often.spares(now, 0), 0);
    }

    #[test]
    fn slow_making_wants_more() {
        let (mut demand, now) = after_starts(1000, Duration::from_millis(5));
        let before = demand.spares(now, 100);
        for _ in 0..50 {
            demand.made(Duration::from_millis(200));
        }
        assert!(demand.spares(now, 100) > before + 5);
    }

    #[test]
    fn demand_fades_and_then_nobody_waits() {
        let (demand, now) = after_starts(1000, Duration::from_millis(5));
        assert_eq!(demand.spares(now + Duration::from_secs(120), 8), 1);
        assert_eq!(demand.spares(now + KEPT + Duration::from_secs(1), 8), 0);
    }
}
