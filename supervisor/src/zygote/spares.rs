//! Spares and empty sandboxes of one zygote: claimed by requests, and made between them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::demand::Demand;
use crate::sandbox::Sandbox;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::worker::Worker;

/// Maximum number of empty sandboxes of one zygote. An empty sandbox needs far less memory than a spare. It
/// saves a start that finds no spare the longest step, which is making a sandbox.
const MOST_EMPTY: usize = 4;

/// A waiting item that a function can take.
pub trait Waits {
    /// True if the item is still alive: it may have been killed meanwhile.
    fn is_alive(&self) -> bool;

    /// Memory charged to the item, in bytes.
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

/// The spares and empty sandboxes of one zygote.
#[derive(Debug)]
pub struct Spares<S = Worker, E = Sandbox> {
    /// Maximum number of waiting spares.
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

/// The state of the spare that is being made.
#[derive(Debug)]
enum Making<S> {
    /// No spare is being made.
    Nothing,
    /// A spare is being made, and no request has claimed it.
    Open,
    /// A spare is being made, and a request waits for it.
    Claimed(oneshot::Sender<S>),
}

/// The outcome of a request for a spare.
#[derive(Debug)]
pub enum Claim<S = Worker, E = Sandbox> {
    /// A spare that was waiting.
    Ready(Box<S>),
    /// The spare that is being made. The channel closes if making it fails.
    Coming(oneshot::Receiver<S>),
    /// No spare: the caller makes one, in the empty sandbox if there is one.
    Nothing(Option<Box<E>>),
}

/// The item that is missing.
#[derive(Debug, PartialEq, Eq)]
pub enum Lack {
    /// A spare.
    Spare,
    /// An empty sandbox.
    Sandbox,
}

impl<S: Waits, E: Waits> Spares<S, E> {
    /// No spares yet, of a zygote that exists because of one start. At most `most` will wait.
    pub fn new(most: usize, now: Instant) -> Self {
        let demand = Demand::new(now);
        let (waiting, empty) = (VecDeque::new(), Vec::new());
        let (refilling, making) = (false, Making::Nothing);
        Self { most, state: Mutex::new(State { waiting, empty, demand, refilling, making }) }
    }

    /// Claims a spare for a start.
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

    /// True if the caller is to refill: it makes what [`Self::lack`] returns, until that is `None`. No
    /// other caller refills meanwhile.
    pub fn begin_refill(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let begin = !state.refilling && state.lack(now, self.most).is_some();
        state.refilling |= begin;
        begin
    }

    /// The next item to make. `None` ends the refill.
    pub fn lack(&self, now: Instant) -> Option<Lack> {
        let mut state = self.lock();
        let lack = state.lack(now, self.most);
        state.refilling = lack.is_some();
        lack
    }

    /// Marks a spare as being made, and takes an empty sandbox for it, if there is one.
    pub fn making(&self) -> Option<E> {
        let mut state = self.lock();
        state.making = Making::Open;
        state.take_empty()
    }

    /// Keeps an empty sandbox.
    pub fn keep_empty(&self, sandbox: E) {
        self.lock().empty.push(sandbox);
    }

    /// Ends the making of a spare: with the spare and the time it took, or with `None` if that failed.
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

    /// Ends the refill early.
    pub fn end_refill(&self) {
        self.lock().refilling = false;
    }

    /// Drops items beyond the current demand.
    pub fn trim(&self, now: Instant) {
        let mut state = self.lock();
        let wanted = state.demand.spares(now, self.most);
        state.waiting.truncate(wanted);
        let wanted = state.demand.spares(now, MOST_EMPTY);
        state.empty.truncate(wanted);
    }

    /// Drops all waiting items.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.waiting.clear();
        state.empty.clear();
    }

    /// Number of waiting spares.
    pub fn count(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Memory charged to all waiting items, in bytes.
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
