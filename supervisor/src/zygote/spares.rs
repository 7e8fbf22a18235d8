//! The spares of one zygote: claimed by requests, and made between them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::demand::Demand;
use super::spare::Spare;

/// The spares of one zygote.
#[derive(Debug)]
pub struct Spares {
    /// Most that wait at once.
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Spare>,
    demand: Demand,
    refilling: bool,
    making: Making,
}

/// What is known of the spare that is being made.
#[derive(Debug)]
enum Making {
    /// None is.
    Nothing,
    /// One is, for whoever comes.
    Open,
    /// One is, and somebody waits for it.
    Claimed(oneshot::Sender<Spare>),
}

/// What a request for a spare gets.
#[derive(Debug)]
pub enum Claim {
    /// One that has waited.
    Ready(Box<Spare>),
    /// The one that is being made. Nothing comes where making it fails.
    Coming(oneshot::Receiver<Spare>),
    /// Nothing: whoever asks has to make one.
    Nothing,
}

impl Spares {
    /// None yet, of a zygote that is there because of one start. At most `most` will wait.
    pub fn new(most: usize, now: Instant) -> Self {
        let demand = Demand::new(now);
        let (waiting, making) = (VecDeque::new(), Making::Nothing);
        Self { most, state: Mutex::new(State { waiting, demand, refilling: false, making }) }
    }

    /// Takes one for a start.
    pub fn claim(&self, now: Instant) -> Claim {
        let mut state = self.lock();
        state.demand.started(now);
        while let Some(spare) = state.waiting.pop_front() {
            if spare.is_alive() {
                return Claim::Ready(Box::new(spare));
            }
        }
        if matches!(state.making, Making::Open) {
            let (sender, receiver) = oneshot::channel();
            state.making = Making::Claimed(sender);
            return Claim::Coming(receiver);
        }
        Claim::Nothing
    }

    /// Whether the caller is to make spares until [`Self::wants`] says that there are enough; nobody
    /// else does meanwhile.
    pub fn begin_refill(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let begin = !state.refilling && state.lacks(now, self.most);
        state.refilling |= begin;
        begin
    }

    /// Whether the caller is to make another one. Where not, it has ended refilling.
    pub fn wants(&self, now: Instant) -> bool {
        let mut state = self.lock();
        state.refilling = state.lacks(now, self.most);
        state.refilling
    }

    /// Says that one is being made.
    pub fn making(&self) {
        self.lock().making = Making::Open;
    }

    /// Says what has come of it: a spare and the time it took, or nothing.
    pub fn made(&self, made: Option<(Spare, Duration)>) {
        let mut state = self.lock();
        let claimed = std::mem::replace(&mut state.making, Making::Nothing);
        let Some((spare, took)) = made else { return };
        state.demand.made(took);
        let left = match claimed {
            Making::Claimed(claimant) => claimant.send(spare).err(),
            Making::Open | Making::Nothing => Some(spare),
        };
        state.waiting.extend(left);
    }

    /// Says that the caller makes no more for now.
    pub fn end_refill(&self) {
        self.lock().refilling = false;
    }

    /// Drops those that are more than there should be.
    pub fn trim(&self, now: Instant) {
        let mut state = self.lock();
        let wanted = state.demand.spares(now, self.most);
        state.waiting.truncate(wanted);
    }

    /// Drops all that wait.
    pub fn clear(&self) {
        self.lock().waiting.clear();
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Memory charged to those that wait, in bytes.
    pub fn bytes(&self) -> u64 {
        self.lock().waiting.iter().map(|spare| spare.sandbox.group().memory()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lacks(&self, now: Instant, most: usize) -> bool {
        self.waiting.len() < self.demand.spares(now, most)
    }
}
