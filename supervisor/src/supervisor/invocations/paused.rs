//! The paused tier: sandboxes that have answered and wait for the next request, frozen.
//!
//! Where requests follow each other closely, a sandbox runs on for a short while after its answer:
//! freezing and thawing it each time would cost more than its idle processes do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak_policy::eviction::{Cache, Policy};
use tokio::runtime::{self, Handle};

use crate::deployment::Function;
use crate::instance::Paused;
use crate::sync::{Mutex, lock};

/// All of them, by function.
#[derive(Debug)]
pub struct PausedTier {
    kept: Mutex<Cache<Kept>>,
    /// How long one may run on; requests follow each other closely where they come within that.
    linger: Duration,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Kept {
    paused: Paused,
    since: Instant,
    /// The runtime that it has served on.
    home: runtime::Id,
    /// Memory charged to it when it was frozen last.
    bytes: u64,
}

/// How an instance was kept before it was taken.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    /// For how long.
    idle: Duration,
    /// Memory charged to it.
    bytes: u64,
}

impl Before {
    /// Not at all: it has served on.
    pub const RUNNING: Self = Self { idle: Duration::ZERO, bytes: 0 };
}

/// Where an instance is kept that is still to be frozen.
#[derive(Debug)]
pub struct Place {
    function: Arc<Function>,
    number: u64,
    /// Whether it is not frozen at once.
    runs_on: bool,
}

/// Those that are not frozen yet, some of which have been taken meanwhile.
#[derive(Debug, Default)]
struct Running {
    /// When to freeze one, its function, and its number; the soonest first.
    due: VecDeque<(Instant, String, u64)>,
    /// Whether somebody sees to it.
    is_followed: bool,
}

impl PausedTier {
    /// Keeps nothing yet.
    pub fn new(policy: Policy, linger: Duration) -> Self {
        Self { kept: Mutex::new(Cache::new(policy)), linger, running: Mutex::default() }
    }

    /// Keeps an instance that has answered, ahead of the reply: whoever has that finds it. `start` is what
    /// its start has taken, if it was started for that; `before` what [`Self::take`] said, if it was kept.
    pub fn keep(&self, paused: Paused, start: Option<Duration>, before: Option<Before>) -> Place {
        let function = paused.instance().function().clone();
        let bytes = before.map_or(0, |before| before.bytes);
        let kept = Kept { paused, since: Instant::now(), home: Handle::current().id(), bytes };
        let number = lock(&self.kept).keep(&function.info.name, bytes, start, kept);
        Place { function, number, runs_on: before.is_some_and(|it| it.idle < self.linger) }
    }

    /// What follows the reply of an instance that was kept: it is frozen, now or soon, unless it has
    /// been taken already.
    pub fn settle(self: &Arc<Self>, place: Place) {
        let Place { function, number, runs_on } = place;
        let name = &function.info.name;
        if runs_on {
            self.freeze_later(Instant::now() + self.linger, name, number);
        } else {
            self.freeze(name, number);
        }
    }

    /// Ends what was kept of a version that is no longer there: whoever removed it may have looked before.
    pub fn discard(&self, place: &Place) {
        let is_of = |kept: &Kept| Arc::ptr_eq(kept.paused.instance().function(), &place.function);
        let gone = lock(&self.kept)
            .take_all(|owner, kept| owner == place.function.info.name && is_of(kept));
        drop(gone);
    }

    /// Takes the function's instance that was kept last, and how it was; one that has served on this
    /// runtime rather than others, whose processes are on other processors, most likely.
    pub fn take(&self, function: &str) -> Option<(Paused, Before)> {
        let here = Handle::current().id();
        let Kept { paused, since, bytes, .. } =
            lock(&self.kept).take_rather(function, |kept| kept.home == here)?;
        Some((paused, Before { idle: since.elapsed(), bytes }))
    }

    /// Drops what is worth least until the rest has no more than so many bytes.
    pub fn shrink(&self, budget: u64) {
        let gone = lock(&self.kept).shrink(budget);
        drop(gone);
    }

    /// Drops those of a function, or all; how many.
    pub fn evict(&self, function: Option<&str>) -> usize {
        let chosen = |owner: &str| function.is_none_or(|function| function == owner);
        let gone = lock(&self.kept).take_all(|owner, _| chosen(owner));
        gone.len()
    }

    /// Drops those of a function that is removed.
    pub fn forget(&self, function: &str) {
        let gone = lock(&self.kept).forget(function);
        drop(gone);
    }

    /// Memory charged to all, in bytes.
    pub fn bytes(&self) -> u64 {
        lock(&self.kept).bytes()
    }

    /// Looks at each, in the order in which they would go, with its size in bytes.
    pub fn each(&self, mut look: impl FnMut(&Paused, u64)) {
        for (_, bytes, kept) in lock(&self.kept).iter() {
            look(&kept.paused, bytes);
        }
    }

    fn freeze_later(self: &Arc<Self>, at: Instant, function: &str, number: u64) {
        let mut running = lock(&self.running);
        running.due.push_back((at, function.to_owned(), number));
        if !std::mem::replace(&mut running.is_followed, true) {
            let tier = self.clone();
            tokio::spawn(async move { tier.follow().await });
        }
    }

    /// Freezes each when it is due, until there are none.
    async fn follow(&self) {
        loop {
            let (due, next) = lock(&self.running).due_at(Instant::now());
            for (_, function, number) in due {
                self.freeze(&function, number);
            }
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => return,
            }
        }
    }

    /// Freezes one that is still here; drops it where that cannot be.
    fn freeze(&self, function: &str, number: u64) {
        let mut kept = lock(&self.kept);
        let Some(one) = kept.get_mut(function, number) else { return };
        if let Err(error) = one.paused.freeze() {
            tracing::warn!(%error, function, "freezing a sandbox");
            let gone = kept.remove(function, number);
            drop((kept, gone));
            return;
        }
        one.bytes = one.paused.instance().sandbox().group().memory();
        let bytes = one.bytes;
        kept.resize(function, number, bytes);
    }
}

impl Running {
    /// Takes those that are due, and tells when the next is; where there is none, nobody follows.
    fn due_at(&mut self, now: Instant) -> (Vec<(Instant, String, u64)>, Option<Instant>) {
        let count = self.due.partition_point(|(at, ..)| *at <= now);
        let due = self.due.drain(..count).collect();
        let next = self.due.front().map(|(at, ..)| *at);
        self.is_followed = next.is_some();
        (due, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_due_once_and_the_last_ends_the_following() {
        let now = Instant::now();
        let later = now + Duration::from_millis(5);
        let due = [(now, "f".to_owned(), 1), (later, "g".to_owned(), 2)];
        let mut running = Running { due: due.into(), is_followed: true };
        let (due, next) = running.due_at(now);
        assert_eq!((due.len(), due[0].2, next), (1, 1, Some(later)));
        assert!(running.is_followed);
        // In the end whatever was put there has been given out.
        let (due, next) = running.due_at(later);
        assert_eq!((due.len(), due[0].2, next), (1, 2, None));
        assert!(!running.is_followed);
    }
}
