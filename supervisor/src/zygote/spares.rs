//! The spares of one zygote, and sandboxes that are still empty: claimed by requests, and made between
//! them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::demand::Demand;
use crate::sandbox::Sandbox;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::worker::Worker;

/// Most sandboxes of one zygote that wait empty. One takes a small part of what a spare does, and whoever
/// finds no spare has to fork, but not to make a sandbox, which takes longer.
const MOST_EMPTY: usize = 4;

/// What waits, until a function takes it.
pub trait Waits {
    /// Whether it is still there: it may have been killed while nobody looked.
    fn is_alive(&self) -> bool;

    /// Memory charged to it, in bytes.
    fn bytes(&self) -> u64;
}

impl Waits for Worker {
    fn is_alive(&self) -> bool {
        Self::is_alive(self)
    }

    fn bytes(&self) -> u64 {
        self.sandbox.group().memory()
    }
}

impl Waits for Sandbox {
    fn is_alive(&self) -> bool {
        !self.door().has_ended()
    }

    fn bytes(&self) -> u64 {
        self.group().memory()
    }
}

/// The spares of one zygote, and sandboxes that are empty.
#[derive(Debug)]
pub struct Spares<S = Worker, E = Sandbox> {
    /// Most that wait at once.
    most: usize,
    state: Mutex<State<S, E>>,
}

#[derive(Debug)]
struct State<S, E> {
    waiting: VecDeque<S>,
    empty: Vec<E>,
    demand: Demand,
    refilling: bool,
    making: Making<S>,
}

/// What is known of the spare that is being made.
#[derive(Debug)]
enum Making<S> {
    /// None is.
    Nothing,
    /// One is, for whoever comes.
    Open,
    /// One is, and somebody waits for it.
    Claimed(oneshot::Sender<S>),
}

/// What a request for a spare gets.
#[derive(Debug)]
pub enum Claim<S = Worker, E = Sandbox> {
    /// One that has waited.
    Ready(Box<S>),
    /// The one that is being made. Nothing comes where making it fails.
    Coming(oneshot::Receiver<S>),
    /// Nothing: whoever asks has to make one, in a sandbox that is ready where there is one.
    Nothing(Option<Box<E>>),
}

/// What there should be more of.
#[derive(Debug, PartialEq, Eq)]
pub enum Lack {
    /// A spare.
    Spare,
    /// An empty sandbox.
    Sandbox,
}

impl<S: Waits, E: Waits> Spares<S, E> {
    /// None yet, of a zygote that is there because of one start. At most `most` will wait.
    pub fn new(most: usize, now: Instant) -> Self {
        let demand = Demand::new(now);
        let (waiting, empty) = (VecDeque::new(), Vec::new());
        let (refilling, making) = (false, Making::Nothing);
        Self { most, state: Mutex::new(State { waiting, empty, demand, refilling, making }) }
    }

    /// Takes one for a start.
    pub fn claim(&self, now: Instant) -> Claim<S, E> {
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
        Claim::Nothing(state.take_empty().map(Box::new))
    }

    /// Whether the caller is to make what [`Self::lack`] says until that is nothing; nobody else does
    /// meanwhile.
    pub fn begin_refill(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let begin = !state.refilling && state.lack(now, self.most).is_some();
        state.refilling |= begin;
        begin
    }

    /// What the caller is to make next. Where that is nothing, it has ended refilling.
    pub fn lack(&self, now: Instant) -> Option<Lack> {
        let mut state = self.lock();
        let lack = state.lack(now, self.most);
        state.refilling = lack.is_some();
        lack
    }

    /// Says that a spare is being made, and gives an empty sandbox for it where there is one.
    pub fn making(&self) -> Option<E> {
        let mut state = self.lock();
        state.making = Making::Open;
        state.take_empty()
    }

    /// Keeps an empty sandbox.
    pub fn keep_empty(&self, sandbox: E) {
        self.lock().empty.push(sandbox);
    }

    /// Says what has come of it: a spare and the time it took, or nothing.
    pub fn made(&self, made: Option<(S, Duration)>) {
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

    /// Drops what is more than there should be.
    pub fn trim(&self, now: Instant) {
        let mut state = self.lock();
        let wanted = state.demand.spares(now, self.most);
        state.waiting.truncate(wanted);
        let wanted = state.demand.spares(now, MOST_EMPTY);
        state.empty.truncate(wanted);
    }

    /// Drops all that wait.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.waiting.clear();
        state.empty.clear();
    }

    /// How many spares wait.
    pub fn count(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Memory charged to what waits, in bytes.
    pub fn bytes(&self) -> u64 {
        let state = self.lock();
        let empty = state.empty.iter().map(Waits::bytes);
        state.waiting.iter().map(Waits::bytes).chain(empty).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State<S, E>> {
        lock(&self.state)
    }
}

impl<S, E: Waits> State<S, E> {
    fn take_empty(&mut self) -> Option<E> {
        std::iter::from_fn(|| self.empty.pop()).find(Waits::is_alive)
    }

    fn lack(&self, now: Instant, most: usize) -> Option<Lack> {
        if self.waiting.len() < self.demand.spares(now, most) {
            Some(Lack::Spare)
        } else if self.empty.len() < self.demand.spares(now, MOST_EMPTY) {
            Some(Lack::Sandbox)
        } else {
            None
        }
    }
}

#[cfg(all(test, feature = "shuttle"))]
mod shuttled;
