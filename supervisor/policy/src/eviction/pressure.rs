//! Bytes that may be kept while memory is short: a decision made of readings.
//!
//! A *domain* has memory: the machine, and each control group around ours that has a limit. As
//! systemd-oomd and senpai do, this module looks at stalls. Without swap stalls come late, so it also
//! looks at the available memory. Stalls alone say nothing, because a function at its own limit stalls
//! too.

use std::time::Duration;

/// The state of a domain's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// Bytes that the domain has in all.
    pub size: u64,
    /// Bytes that are available without swapping.
    pub available: u64,
    /// Time that some process has waited for memory, since the domain exists.
    pub stalled: Duration,
    /// Times that the domain's limit was met, since the domain exists.
    pub met: u64,
}

/// Divisor of a domain's size that gives the floor: the bytes that should be available at least.
const FLOOR_PART: u64 = 20;
/// Largest floor of a domain, however large the domain is, in bytes.
const FLOOR_MOST: u64 = 1 << 30;
/// Smallest floor of a large domain, in bytes: less is used up before the supervisor notices.
const FLOOR_LEAST: u64 = 64 << 20;
/// Number of available floors from which on stalls are no shortage, but a function's own.
const SCARCE_FLOORS: u64 = 4;
/// Share of the time with stalls that counts as a shortage.
const STALLED: f64 = 0.1;
/// Time for which nothing more is given back while earlier bytes are still on their way.
const SETTLING: Duration = Duration::from_secs(1);
/// Time without a shortage before more is kept again.
const CALM: Duration = Duration::from_secs(10);

/// Bytes that a domain should have available at least.
fn floor(of: &Reading) -> u64 {
    (of.size / FLOOR_PART).clamp(FLOOR_LEAST, FLOOR_MOST).min(of.size / 4)
}

/// Bytes that a domain should have available in addition; 0 if there is no shortage.
fn lacks(now: &Reading, before: Option<&Reading>, passed: Duration) -> u64 {
    let floor = floor(now);
    if now.available < floor {
        // Ask for more than the floor, so that the next byte that is taken is no new shortage.
        return floor + floor / 2 - now.available;
    }
    let Some(before) = before else { return 0 };
    let stalled = now.stalled.saturating_sub(before.stalled);
    let is_short = now.met > before.met || stalled > passed.mul_f64(STALLED);
    if is_short && now.available < SCARCE_FLOORS * floor { floor / 2 } else { 0 }
}

/// Bytes that a domain has available beyond its floor and a margin.
fn spare(of: &Reading) -> u64 {
    of.available.saturating_sub(2 * floor(of))
}

/// The decision, reading by reading.
#[derive(Debug)]
pub struct Judge {
    /// The budget, in bytes.
    most: u64,
    /// Bytes that may be kept now.
    allowed: u64,
    before: Option<(Duration, Vec<Reading>)>,
    /// Time of the last shortage, and below, of the last time that bytes were given back for one.
    short: Option<Duration>,
    gave: Option<Duration>,
}

impl Judge {
    /// A judge that allows a whole budget, in bytes.
    pub fn new(most: u64) -> Self {
        Self { most, allowed: most, before: None, short: None, gave: None }
    }

    /// Bytes that may be kept. `now` is the time since any fixed moment. `readings` are those of the
    /// domains, always in the same order. `kept` is the number of bytes that are kept. `is_settling` is
    /// true if bytes that were given back are still on their way.
    pub fn allow(
        &mut self,
        now: Duration,
        readings: Vec<Reading>,
        kept: u64,
        is_settling: bool,
    ) -> u64 {
        let lacks = {
            let (then, before) =
                self.before.as_ref().map_or((now, &[][..]), |(then, before)| (*then, before));
            let passed = now.saturating_sub(then);
            let each = readings.iter().enumerate();
            each.map(|(at, one)| lacks(one, before.get(at), passed)).max().unwrap_or(0)
        };
        let spare = readings.iter().map(spare).min().unwrap_or(u64::MAX);
        self.before = Some((now, readings));
        let since = |then: Option<Duration>| then.map(|then| now.saturating_sub(then));
        if lacks > 0 {
            self.short = Some(now);
            if !is_settling || since(self.gave).is_none_or(|passed| passed >= SETTLING) {
                self.gave = Some(now);
                self.allowed = self.allowed.min(kept).saturating_sub(lacks);
            }
        } else if spare > 0 && since(self.short).is_none_or(|passed| passed >= CALM) {
            self.allowed = self.allowed.max(kept.saturating_add(spare)).min(self.most);
        }
        self.allowed
    }

    /// Time until the next look: the shorter, the sooner the memory of the domains may be used up.
    pub fn pace(&self) -> Duration {
        /// Bytes that a processor writes to new pages in a second, roughly.
        const BYTES_A_SECOND: u64 = 4 << 30;
        let readings = self.before.iter().flat_map(|(_, readings)| readings);
        let left = readings.map(|one| one.available.saturating_sub(floor(one))).min();
        let left = left.unwrap_or(u64::MAX).min(BYTES_A_SECOND);
        Duration::from_millis((left * 1000 / BYTES_A_SECOND).max(50))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    /// The floor of a domain of eight GiB.
    const FLOOR: u64 = 8 * GIB / 20;

    fn available(available: u64) -> Reading {
        Reading { size: 8 * GIB, available, ..Reading::default() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn with_enough_memory_all_of_the_budget_is_allowed() {
        let mut judge = Judge::new(GIB);
        for second in 0..100 {
            assert_eq!(judge.allow(seconds(second), vec![available(GIB)], GIB, false), GIB);
        }
    }

    #[test]
    fn what_lacks_is_given_back_once_and_had_again_when_all_was_well_for_long() {
        let mut judge = Judge::new(4 * GIB);
        let mut allow = |second, reading, kept, is_settling| {
            judge.allow(seconds(second), vec![reading], kept, is_settling)
        };
        let less = 2 * GIB - FLOOR - FLOOR / 2 + 100 * MIB;
        assert_eq!(allow(0, available(100 * MIB), 2 * GIB, false), less);
        // On its way: nothing more.
        assert_eq!(allow(0, available(100 * MIB), less, true), less);
        assert_eq!(allow(1, available(FLOOR + MIB), less, false), less);
        assert_eq!(allow(9, available(3 * FLOOR), less, false), less);
        // Ten seconds later as much more as there is beyond two floors, and no more than the budget.
        assert_eq!(allow(10, available(3 * FLOOR), less, false), less + FLOOR);
        assert_eq!(allow(11, available(8 * GIB), less, false), 4 * GIB);
    }

    #[test]
    fn what_does_not_arrive_is_not_waited_for_for_ever() {
        let mut judge = Judge::new(4 * GIB);
        let short = || vec![available(0)];
        let first = judge.allow(seconds(5), short(), 4 * GIB, false);
        assert_eq!(judge.allow(seconds(5), short(), first, true), first);
        assert!(judge.allow(seconds(6), short(), first, true) < first);
    }

    #[test]
    fn stalls_count_where_memory_is_scarce_and_met_limits_do_too() {
        let lost = |available: u64, stalled_ms: u64, met: u64| {
            let mut judge = Judge::new(GIB);
            let reading = |stalled_ms, met| Reading {
                size: 8 * GIB,
                available,
                stalled: Duration::from_millis(stalled_ms),
                met,
            };
            judge.allow(seconds(0), vec![reading(7, 3)], GIB, false);
            GIB - judge.allow(seconds(1), vec![reading(7 + stalled_ms, 3 + met)], GIB, false)
        };
        assert_eq!(lost(2 * FLOOR, 50, 0), 0);
        assert_eq!(lost(2 * FLOOR, 150, 0), FLOOR / 2);
        assert_eq!(lost(2 * FLOOR, 0, 1), FLOOR / 2);
        // A function at its own limit, with room for everybody else.
        assert_eq!(lost(5 * FLOOR, 900, 0), 0);
    }

    #[test]
    fn the_shortest_domain_decides() {
        let mut judge = Judge::new(GIB);
        let group = Reading { size: 512 * MIB, available: 10 * MIB, ..Reading::default() };
        let allowed = judge.allow(seconds(0), vec![available(8 * GIB), group], 300 * MIB, false);
        assert_eq!(allowed, 300 * MIB - (96 - 10) * MIB);
        assert_eq!(judge.pace(), Duration::from_millis(50));
    }

    proptest! {
        /// Property: for any readings, the allowed bytes never exceed the budget, and never grow within
        /// ten seconds of a shortage.
        #[test]
        fn nothing_flaps(
            readings in proptest::collection::vec((0..4 * GIB, 0..1000u64, 0..2 * GIB), 1..60)
        ) {
            let mut judge = Judge::new(GIB);
            let (mut stalled, mut allowed, mut short) = (0, GIB, None);
            for (second, (free, stalls, kept)) in (0..).zip(readings) {
                stalled += stalls;
                let stalled = Duration::from_millis(stalled);
                let reading = Reading { stalled, ..available(free) };
                let next = judge.allow(seconds(second), vec![reading], kept, false);
                prop_assert!(next <= GIB);
                if next < allowed || free < FLOOR {
                    short = Some(second);
                }
                if next > allowed {
                    prop_assert!(short.is_none_or(|short| second - short >= 10));
                }
                allowed = next;
            }
        }
    }
}
