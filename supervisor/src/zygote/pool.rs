//! Which zygotes there are: one for each environment, made when it is first asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::imports::Unsafe;
use super::node::{Imports, Zygote, ZygoteError};
use crate::environment::Tree;
use crate::sandbox::{SandboxError, Sandboxes};

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
    trusted: Vec<String>,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    by_key: BTreeMap<Key, Slot>,
    last_id: u64,
    /// By the key of an environment's tree: what was found out once need not be again.
    left_out: BTreeMap<String, Unsafe>,
}

impl Pool {
    /// A pool without zygotes. `runtime` is the folder of the Python runtime; modules that are
    /// `trusted` are imported whatever that leaves.
    pub fn new(sandboxes: Arc<Sandboxes>, runtime: PathBuf, trusted: Vec<String>) -> Self {
        Self { sandboxes, runtime, trusted, slots: Mutex::default() }
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
            let slots = &mut *pool.lock();
            if let Some(slot) = slots.by_key.get_mut(&key).filter(|slot| slot.id == id) {
                slot.state = state;
                slot.left_out = slots.left_out.get(&key.tree).cloned().unwrap_or_default();
            }
        });
    }

    /// Starts a zygote; again without the modules that turn out to be unsafe, as long as there are
    /// any more to leave out.
    async fn start(&self, tree: &Arc<Tree>, own_network: bool) -> Result<Zygote, ZygoteError> {
        loop {
            let left_out = self.lock().left_out.get(&tree.key).cloned().unwrap_or_default();
            let wanted = tree.modules.iter().filter(|module| !left_out.contains_key(*module));
            let wanted = Imports { modules: wanted.cloned().collect(), trusted: &self.trusted };
            let sandboxes = self.sandboxes.clone();
            match Zygote::start(sandboxes, tree.clone(), wanted, own_network, &self.runtime).await {
                Err(ZygoteError::Unsafe(found))
                    if found.keys().all(|module| tree.modules.contains(module)) =>
                {
                    tracing::info!(environment = tree.key, ?found, "not for zygotes");
                    self.lock().left_out.entry(tree.key.clone()).or_default().extend(found);
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

    /// Memory of all of them, in bytes.
    pub fn bytes(&self) -> u64 {
        let slots = self.slots();
        slots
            .iter()
            .map(|(_, slot)| match &slot.state {
                State::Ready(zygote) => zygote.sandbox().group().memory(),
                _ => 0,
            })
            .sum()
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
