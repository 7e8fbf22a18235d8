//! Which zygotes there are: one for each environment, made when it is first asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::imports::{self, Unsafe};
use super::node::{Imports, Zygote, ZygoteError};
use super::spare::{Spare, SpareError};
use super::spares::Claim;
use crate::dispatch::Traffic;
use crate::environment::Tree;
use crate::sandbox::{SandboxError, Sandboxes};

/// How long making a spare waits for requests to be answered. Where they never pause it is made beside
/// them.
const REFILL_PATIENCE: Duration = Duration::from_millis(20);
/// The part of the memory budget that all spares together may take: one of so many.
const SPARES_SHARE: u64 = 8;

/// Whom a zygote may serve: functions whose environment has the distributions of its own, by
/// digest, and whose sandboxes are in the same network. A child cannot change to the host's, which
/// its user has no say over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Key of the environment's tree.
    pub tree: String,
    /// Whether it is in a network namespace of its own.
    pub own_network: bool,
}

/// A zygote's life.
#[derive(Debug, Clone)]
pub enum State {
    /// Importing.
    Starting,
    /// Asleep, ready to fork.
    Ready(Arc<Zygote>),
    /// It could not be started; functions of this environment start from the ssd tier.
    Failed(String),
}

/// A zygote's place in the pool.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Counts zygotes from the supervisor's start.
    pub id: u64,
    /// What it is doing.
    pub state: State,
    /// Modules that it was not given to import, and why.
    pub left_out: Unsafe,
}

/// The zygotes, by whom they may serve.
#[derive(Debug)]
pub struct Pool {
    sandboxes: Arc<Sandboxes>,
    runtime: PathBuf,
    budget: Budget,
    traffic: Arc<Traffic>,
    trusted: Vec<String>,
    slots: Mutex<Slots>,
}

/// What spares may take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Memory of all that is kept, in bytes.
    pub memory: u64,
    /// Spares of one zygote.
    pub spares: usize,
}

#[derive(Debug, Default)]
struct Slots {
    by_key: BTreeMap<Key, Slot>,
    last_id: u64,
    /// By the key of an environment's tree: what was found out once need not be again.
    left_out: BTreeMap<String, Unsafe>,
}

impl Pool {
    /// A pool without zygotes. `runtime` is the folder of the Python runtime; spares are made when
    /// there is no traffic; modules that are `trusted` are imported whatever that leaves.
    pub fn new(
        (sandboxes, traffic): (Arc<Sandboxes>, Arc<Traffic>),
        runtime: PathBuf,
        budget: Budget,
        trusted: Vec<String>,
    ) -> Self {
        Self { sandboxes, runtime, budget, traffic, trusted, slots: Mutex::default() }
    }

    /// The zygote of a key, where it is ready.
    pub fn ready(&self, key: &Key) -> Option<Arc<Zygote>> {
        match self.lock().by_key.get(key) {
            Some(Slot { state: State::Ready(zygote), .. }) => Some(zygote.clone()),
            _ => None,
        }
    }

    /// Starts a zygote of an environment in the background, unless there is or was one.
    pub fn want(self: &Arc<Self>, tree: &Arc<Tree>, own_network: bool) {
        let key = Key { tree: tree.key.clone(), own_network };
        let mut slots = self.lock();
        if slots.by_key.contains_key(&key) {
            return;
        }
        slots.last_id += 1;
        let id = slots.last_id;
        let left_out = slots.left_out.get(&key.tree).cloned().unwrap_or_default();
        slots.by_key.insert(key.clone(), Slot { id, state: State::Starting, left_out });
        drop(slots);
        let (pool, tree) = (self.clone(), tree.clone());
        tokio::spawn(async move {
            let state = match pool.start(&tree, own_network).await {
                Ok(zygote) => State::Ready(Arc::new(zygote)),
                Err(ZygoteError::Sandbox(SandboxError::Stopping)) => return,
                Err(error) => {
                    tracing::warn!(environment = key.tree, %error, "a zygote could not be started");
                    State::Failed(error.to_string())
                }
            };
            // Evicted while it was starting: it is dropped here, and ends.
            let ready = match &state {
                State::Ready(zygote) => Some(zygote.clone()),
                _ => None,
            };
            pool.settle(&key, id, state);
            if let Some(zygote) = ready {
                pool.refill(&zygote);
            }
        });
    }

    fn settle(&self, key: &Key, id: u64, state: State) {
        let slots = &mut *self.lock();
        if let Some(slot) = slots.by_key.get_mut(key).filter(|slot| slot.id == id) {
            slot.state = state;
            slot.left_out = slots.left_out.get(&key.tree).cloned().unwrap_or_default();
        }
    }

    /// A child of a zygote that waits for its function: one that is there, one that is being made,
    /// or a new one.
    pub async fn spare(&self, zygote: &Zygote) -> Result<Spare, SpareError> {
        match zygote.spares().claim(Instant::now()) {
            Claim::Ready(spare) => return Ok(*spare),
            Claim::Coming(spare) => {
                if let Ok(spare) = spare.await {
                    return Ok(spare);
                }
            }
            Claim::Nothing => {}
        }
        Spare::fork(&self.sandboxes, zygote, &self.runtime).await
    }

    /// Makes the spares that a zygote should have, in the background, one after the other.
    pub fn refill(self: &Arc<Self>, zygote: &Arc<Zygote>) {
        if !self.has_room() || !zygote.spares().begin_refill(Instant::now()) {
            return;
        }
        // Not kept for its spares: one that is evicted meanwhile ends.
        let (pool, zygote) = (self.clone(), Arc::downgrade(zygote));
        tokio::spawn(async move {
            loop {
                pool.traffic.pause(REFILL_PATIENCE).await;
                let Some(zygote) = zygote.upgrade() else { return };
                let began = Instant::now();
                if !zygote.spares().wants(began) {
                    return;
                }
                zygote.spares().making();
                let made = Spare::fork(&pool.sandboxes, &zygote, &pool.runtime).await;
                let made = made.inspect_err(|error| {
                    tracing::warn!(%error, zygote = zygote.pid(), "making a spare");
                });
                let ended = made.is_err() || !pool.has_room();
                zygote.spares().made(made.ok().map(|spare| (spare, began.elapsed())));
                if ended {
                    zygote.spares().end_refill();
                    return;
                }
            }
        });
    }

    /// Drops the spares that are more than demand asks for.
    pub fn trim(&self) {
        let now = Instant::now();
        self.each_ready(|zygote| zygote.spares().trim(now));
    }

    /// Drops all spares; how many.
    pub fn evict_spares(&self) -> usize {
        let mut count = 0;
        self.each_ready(|zygote| count += zygote.spares().clear());
        count
    }

    /// Memory of all spares, in bytes.
    pub fn spares_bytes(&self) -> u64 {
        let mut bytes = 0;
        self.each_ready(|zygote| bytes += zygote.spares().bytes());
        bytes
    }

    fn has_room(&self) -> bool {
        self.spares_bytes() < self.budget.memory / SPARES_SHARE
    }

    fn each_ready(&self, mut act: impl FnMut(&Zygote)) {
        for (_, slot) in self.slots() {
            if let State::Ready(zygote) = slot.state {
                act(&zygote);
            }
        }
    }

    /// Starts a zygote; again without the modules that turn out to be unsafe, as long as there are
    /// any more to leave out.
    async fn start(&self, tree: &Arc<Tree>, own_network: bool) -> Result<Zygote, ZygoteError> {
        loop {
            let left_out = self.lock().left_out.get(&tree.key).cloned().unwrap_or_default();
            let wanted = tree.modules.iter().filter(|module| !left_out.contains_key(*module));
            let wanted = Imports { modules: wanted.cloned().collect(), trusted: &self.trusted };
            let (sandboxes, tree) = (self.sandboxes.clone(), tree.clone());
            let key = tree.key.clone();
            match Zygote::start(
                sandboxes,
                tree,
                wanted,
                own_network,
                &self.runtime,
                self.budget.spares,
            )
            .await
            {
                Err(ZygoteError::Unsafe(found)) if imports::can_be_left_out(&found) => {
                    tracing::info!(environment = key, ?found, "not for zygotes");
                    self.lock().left_out.entry(key).or_default().extend(found);
                }
                started => return started,
            }
        }
    }

    /// Forgets a zygote that does not fork any more; the next start makes another.
    pub fn discard(&self, key: &Key, zygote: &Arc<Zygote>) {
        let mut slots = self.lock();
        let same =
            |slot: &Slot| matches!(&slot.state, State::Ready(kept) if Arc::ptr_eq(kept, zygote));
        if slots.by_key.get(key).is_some_and(same) {
            slots.by_key.remove(key);
        }
    }

    /// Drops the zygotes whose tree `choose` chooses by its key; how many.
    pub fn evict(&self, mut choose: impl FnMut(&str) -> bool) -> usize {
        let mut slots = self.lock();
        let before = slots.by_key.len();
        slots.by_key.retain(|key, _| !choose(&key.tree));
        before - slots.by_key.len()
    }

    /// Drops the oldest ready zygote; whether there was one.
    pub fn evict_oldest(&self) -> bool {
        let mut slots = self.lock();
        let oldest = slots
            .by_key
            .iter()
            .filter(|(_, slot)| matches!(slot.state, State::Ready(_)))
            .min_by_key(|(_, slot)| slot.id)
            .map(|(key, _)| key.clone());
        oldest.is_some_and(|key| slots.by_key.remove(&key).is_some())
    }

    /// All of them, by key.
    pub fn slots(&self) -> Vec<(Key, Slot)> {
        self.lock().by_key.iter().map(|(key, slot)| (key.clone(), slot.clone())).collect()
    }

    /// Memory of all of them and of their spares, in bytes.
    pub fn bytes(&self) -> u64 {
        let mut bytes = 0;
        self.each_ready(|zygote| {
            bytes += zygote.sandbox().group().memory() + zygote.spares().bytes();
        });
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
