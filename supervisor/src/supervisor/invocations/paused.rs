//! The paused tier: sandboxes that have answered, and wait frozen for the next request.
//!
//! If requests follow each other closely, a sandbox runs on for a short while after its answer, because
//! freezing and thawing it each time would cost more than its idle processes do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak_policy::eviction::{Cache, Policy};
use tokio::runtime::{self, Handle};

use crate::deployment::Function;
use crate::instance::Paused;
use crate::sync::{Mutex, lock};

/// The kept instances, by function.
#[derive(Debug)]
pub struct PausedTier {
    kept: Mutex<Cache<Kept>>,
    /// Time for which a sandbox runs on. Requests follow each other closely if each comes within this time.
    linger: Duration,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Kept {
    paused: Paused,
    since: Instant,
    /// The runtime on which the instance has served.
    home: runtime::Id,
    /// Memory charged to the sandbox at its last freeze, in bytes.
    bytes: u64,
}

/// Data of an instance's stay in the paused tier, when it is taken.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    /// Time for which the instance was kept.
    idle: Duration,
    /// Memory charged to the sandbox at its last freeze, in bytes.
    bytes: u64,
}

impl Before {
    /// For an instance that was not kept, because it has served on.
    pub const RUNNING: Self = Self { idle: Duration::ZERO, bytes: 0 };
}

/// Place of a kept instance that is still to be frozen.
#[derive(Debug)]
pub struct Place {
    function: Arc<Function>,
    number: u64,
    /// True if the instance runs on for a while before it is frozen.
    runs_on: bool,
}

/// Kept instances that are not frozen yet; some were taken meanwhile.
#[derive(Debug, Default)]
struct Running {
    /// Time to freeze an instance, its function, and its number; the soonest first.
    due: VecDeque<(Instant, String, u64)>,
    /// True if a task freezes them.
    is_followed: bool,
}

impl PausedTier {
    /// An empty tier.
    pub fn new(policy: Policy, linger: Duration) -> Self {
        Self { kept: Mutex::new(Cache::new(policy)), linger, running: Mutex::default() }
    }

    /// Keeps an instance that has answered, before the reply, so that the client's next request finds
    /// it. `start` is the time that its start took, if it was started for this answer; `before` comes
    /// from [`Self::take`], if it was kept.
    pub fn keep(&self, paused: Paused, start: Option<Duration>, before: Option<Before>) -> Place {
        let function = paused.instance().function().clone();
        let bytes = before.map_or(0, |before| before.bytes);
        let kept = Kept { paused, since: Instant::now(), home: Handle::current().id(), bytes };
        let number = lock(&self.kept).keep(&function.info.name, bytes, start, kept);
        Place { function, number, runs_on: before.is_some_and(|it| it.idle < self.linger) }
    }

    /// Freezes a kept instance after the reply, at once or soon, unless it was taken already.
    pub fn settle(self: &Arc<Self>, place: Place) {
        let Place { function, number, runs_on } = place;
        let name = &function.info.name;
        if runs_on {
            self.freeze_later(Instant::now() + self.linger, name, number);
        } else {
            self.freeze(name, number);
        }
    }

    /// Drops kept instances of a version that is not deployed any more. The removal may have looked
    /// before the instance was kept.
    pub fn discard(&self, place: &Place) {
        let is_of = |kept: &Kept| Arc::ptr_eq(kept.paused.instance().function(), &place.function);
        let gone = lock(&self.kept)
            .take_all(|owner, kept| owner == place.function.info.name && is_of(kept));
        drop(gone);
    }

    /// Takes the function's instance that was kept last, and the data of its stay. Prefers an instance
    /// that has served on this runtime, because the processes of others are most likely on other
    /// processors.
    pub fn take(&self, function: &str) -> Option<(Paused, Before)> {
        let here = Handle::current().id();
        let Kept { paused, since, bytes, .. } =
            lock(&self.kept).take_rather(function, |kept| kept.home == here)?;
        Some((paused, Before { idle: since.elapsed(), bytes }))
    }

    /// Drops the least valuable instances until the rest has at most `budget` bytes.
    pub fn shrink(&self, budget: u64) {
        let gone = lock(&self.kept).shrink(budget);
        drop(gone);
    }

    /// Drops the instances of a function, or all. Returns their number.
    pub fn evict(&self, function: Option<&str>) -> usize {
        let chosen = |owner: &str| function.is_none_or(|function| function == owner);
        let gone = lock(&self.kept).take_all(|owner, _| chosen(owner));
        gone.len()
    }

    /// Drops the instances of a function that was removed.
    pub fn forget(&self, function: &str) {
        let gone = lock(&self.kept).forget(function);
        drop(gone);
    }

    /// Memory charged to all kept instances, in bytes.
    pub fn bytes(&self) -> u64 {
        lock(&self.kept).bytes()
    }

    /// Calls `look` for each instance, in the order in which they would be dropped, with its size in bytes.
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

    /// Freezes each instance when it is due, until none is left.
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

    /// Freezes an instance if it is still kept, or drops it if that fails.
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
    /// Takes the instances that are due. Also returns the time of the next; with `None` the task that
    /// follows ends.
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
        // Each instance was given out once.
        let (due, next) = running.due_at(later);
        assert_eq!((due.len(), due[0].2, next), (1, 2, None));
        assert!(!running.is_followed);
    }
}
