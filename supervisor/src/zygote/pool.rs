//! The zygotes that there are, and the choice of one for a function.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use pipsqueak_policy::eviction::Allowance;
use pipsqueak_policy::zygotes::{self, Modules, Parameters, Policy, Realm, Start, ZygoteId};

use super::imports::Unsafe;
use super::kind::{Apart, Kind};
use super::news::News;
use super::node::Zygote;
use super::remembered::Recalled;
use super::standbys::Standbys;
use crate::admission::Traffic;
use crate::deployment::Function;
use crate::environment::{Environments, Tree};
use crate::sandbox::Sandboxes;
use crate::sync::{Mutex, MutexGuard, lock};

/// The state of a zygote.
#[derive(Debug, Clone)]
pub enum State {
    /// Being started: the zygote imports.
    Starting,
    /// Asleep, ready to fork.
    Ready(Arc<Zygote>),
    /// Failed: the zygote could not be started, or its children are of no use. It is not tried again for a
    /// while.
    Failed(String),
}

impl State {
    /// The zygote, if it can be asked to fork.
    pub(super) fn ready(&self) -> Option<&Arc<Zygote>> {
        match self {
            Self::Ready(zygote) => Some(zygote),
            Self::Starting | Self::Failed(_) => None,
        }
    }
}

/// A zygote's place in the pool.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Number, counted from the supervisor's start.
    pub id: u64,
    /// The zygote that it is forked from.
    pub parent: Option<u64>,
    /// The environment that the zygote sees.
    pub tree: Arc<Tree>,
    /// The zygote's state.
    pub state: State,
    /// Modules of its environment that no zygote may import, with reasons.
    pub left_out: Unsafe,
    /// The zygote in the policy's form.
    pub(super) seen: zygotes::Zygote,
    /// Modules that the zygote was planned with, by which the policy recognises it.
    pub(super) planned: Modules,
    /// Private memory that the zygote was planned with, in bytes.
    pub(super) planned_bytes: f64,
    /// True if a user has given the zygote.
    pub is_given: bool,
}

/// Limits on zygotes and spares.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Memory of all kept items.
    pub memory: Arc<Allowance>,
    /// Maximum number of spares of one zygote.
    pub spares: usize,
}

/// The zygotes, and the knowledge about the functions that they may serve.
#[derive(Debug)]
pub struct Pool {
    pub(super) sandboxes: Arc<Sandboxes>,
    pub(super) environments: Arc<Environments>,
    pub(super) runtime: PathBuf,
    pub(super) budget: Budget,
    pub(super) traffic: Arc<Traffic>,
    pub(super) trusted: Vec<String>,
    pub(super) began: Instant,
    /// Changes that may lead to another plan.
    pub(super) news: News,
    pub(super) inner: Mutex<Inner>,
    pub(super) standbys: Standbys,
}

/// State that changes under one lock.
#[derive(Debug)]
pub(super) struct Inner {
    pub policy: Policy,
    pub known: HashMap<String, Known>,
    /// Environments by the key of their trees.
    pub environments: HashMap<String, Arc<zygotes::Environment>>,
    pub slots: BTreeMap<u64, Slot>,
    pub last_id: u64,
    /// Knowledge of the last run.
    pub recalled: Recalled,
    /// Environments that given trees are made of.
    pub sources: Vec<Arc<Tree>>,
    /// Zygotes that a user has given and that are not started yet.
    pub given: Vec<Start>,
    /// Common properties of each realm's functions.
    pub kinds: HashMap<Realm, Kind>,
    /// Unsafe modules with reasons, by the digest of their distribution.
    pub unsafe_modules: BTreeMap<String, Unsafe>,
    /// Modules whose import ahead has failed in this run, with reasons, by the digest of their
    /// distribution.
    pub failed_modules: BTreeMap<String, Unsafe>,
}

/// A function, as the policy last heard of it.
#[derive(Debug)]
pub(super) struct Known {
    pub version: u64,
    /// The function's environment.
    pub tree: Arc<Tree>,
    pub own_network: bool,
    /// Differences of the function from others of its interpreter, network and tenant.
    pub apart: Apart,
    /// True if the importable modules of the environment were known.
    pub knew_imports: bool,
}

/// A zygote that may serve a function.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The zygote's number.
    pub id: u64,
    /// The zygote.
    pub zygote: Arc<Zygote>,
    /// True if the zygote sees all of the function's environment.
    pub is_whole: bool,
    /// True if the zygote has imported a module that the function imports, or if the function imports none.
    pub helps: bool,
}

impl Pool {
    /// A pool without zygotes. `runtime` is the folder of the Python runtime. Spares are made while there
    /// is no traffic. Modules that are `trusted` are imported, whatever that leaves.
    pub fn new(
        (sandboxes, environments, traffic): (Arc<Sandboxes>, Arc<Environments>, Arc<Traffic>),
        runtime: PathBuf,
        budget: Budget,
        trusted: Vec<String>,
    ) -> Self {
        let inner = Inner {
            policy: Policy::new(Parameters::default()),
            known: HashMap::new(),
            environments: HashMap::new(),
            slots: BTreeMap::new(),
            last_id: 0,
            recalled: Recalled::default(),
            sources: Vec::new(),
            given: Vec::new(),
            kinds: HashMap::new(),
            unsafe_modules: BTreeMap::new(),
            failed_modules: BTreeMap::new(),
        };
        Self {
            sandboxes,
            environments,
            runtime,
            budget,
            traffic,
            trusted,
            began: Instant::now(),
            news: News::default(),
            inner: Mutex::new(inner),
            standbys: Standbys::default(),
        }
    }

    /// The zygote that has a function's modules ready first.
    pub fn choose(&self, function: &Function, tree: &Arc<Tree>) -> Option<Choice> {
        let now = self.now();
        let inner = &mut *self.lock();
        inner.introduce(function, tree, now);
        let (chosen, is_apart) = inner.choose(function, tree);
        if is_apart {
            self.news.wake();
        }
        let slot = inner.slots.get(&chosen?)?;
        let zygote = slot.state.ready()?;
        let wanted = &inner.policy.function(&function.info.name)?.modules;
        Some(Choice {
            id: slot.id,
            zygote: zygote.clone(),
            is_whole: slot.tree.key == tree.key,
            helps: wanted.is_empty() || !wanted.intersection(&slot.seen.modules).is_empty(),
        })
    }

    /// Announces a start, of which the caller will later call [`Self::learn`].
    pub fn announce(&self) {
        self.news.announce();
    }

    /// True if the zygotes and standbys do not follow all demand yet.
    pub fn is_growing(&self) -> bool {
        let is_starting = |slot: &Slot| matches!(slot.state, State::Starting);
        self.news.is_pending()
            || self.lock().slots.values().any(is_starting)
            || self.standbys.is_making()
    }

    /// The environment of a zygote, by its key.
    pub fn tree(&self, key: &str) -> Option<Arc<Tree>> {
        let inner = self.lock();
        inner.slots.values().find(|slot| slot.tree.key == key).map(|slot| slot.tree.clone())
    }

    /// Drops all standbys, and the zygotes that may serve a function, or all zygotes. Returns the number of
    /// dropped zygotes.
    pub fn evict(&self, function: Option<&str>) -> usize {
        self.evict_standbys();
        let inner = &mut *self.lock();
        let before = inner.slots.len();
        let policy = &inner.policy;
        let serves = |slot: &Slot| {
            let Some(name) = function else { return true };
            let Some(known) = policy.function(name) else { return false };
            let fitness = slot.seen.fitness(known, &policy.costs);
            matches!(fitness, zygotes::Fitness::Fit { .. })
        };
        inner.slots.retain(|_, slot| !serves(slot));
        before - inner.slots.len()
    }

    /// Ends the zygotes that save least until the rest is within the budget.
    pub fn shrink(&self) {
        let now = self.now();
        let inner = &mut *self.lock();
        #[expect(clippy::cast_precision_loss, reason = "a size, far below 2^52")]
        let retired = inner.policy.shrink(&inner.standing(), self.budget.memory.now() as f64, now);
        for id in retired {
            inner.slots.remove(&id.0);
        }
    }

    /// All zygotes' slots, by their numbers.
    pub fn slots(&self) -> Vec<Slot> {
        self.lock().slots.values().cloned().collect()
    }

    /// Memory of all zygotes, their spares, and standbys, in bytes.
    pub fn bytes(&self) -> u64 {
        let mut bytes = self.standbys.bytes();
        self.each_ready(|zygote| {
            bytes += zygote.sandbox().group().memory() + zygote.spares().bytes();
        });
        bytes
    }

    pub(super) fn each_ready(&self, mut act: impl FnMut(&Zygote)) {
        let ready: Vec<Arc<Zygote>> =
            self.lock().slots.values().filter_map(|slot| slot.state.ready().cloned()).collect();
        for zygote in &ready {
            act(zygote);
        }
    }

    /// Seconds since the supervisor's start.
    pub(super) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    /// The number of the zygote that has a function's modules ready first, among those whose imports have
    /// read what the function would. The flag is true if a zygote with differences was passed over, so that
    /// another is to be planned.
    pub fn choose(&mut self, function: &Function, tree: &Tree) -> (Option<u64>, bool) {
        let mut unlike = BTreeSet::new();
        loop {
            let ready = self.slots.values();
            let ready =
                ready.filter(|one| one.state.ready().is_some() && !unlike.contains(&one.id));
            let chosen = self.policy.choose(ready.map(|one| &one.seen), &function.info.name);
            let slot = chosen.and_then(|chosen| self.slots.get(&chosen.id.0));
            let Some(slot) = slot else { return (None, !unlike.is_empty()) };
            let (id, differences) = (slot.id, self.differences(slot, function, tree));
            if differences.is_empty() {
                return (Some(id), !unlike.is_empty());
            }
            unlike.insert(id);
            self.set_apart(function, tree, differences);
        }
    }

    /// Zygotes that are ready or being started, in the policy's form.
    #[expect(clippy::cast_precision_loss, reason = "a size, far below 2^52")]
    pub fn standing(&self) -> Vec<zygotes::Standing> {
        let is_alive = |slot: &Slot| !matches!(slot.state, State::Failed(_));
        let has = |id: &u64| self.slots.get(id).is_some_and(is_alive);
        let alive = self.slots.values().filter(|slot| is_alive(slot));
        alive
            .map(|slot| zygotes::Standing {
                id: slot.seen.id,
                parent: slot.parent.filter(has).map(ZygoteId),
                realm: slot.seen.realm,
                distributions: slot.seen.distributions.clone(),
                modules: slot.seen.modules.clone(),
                bytes: slot
                    .state
                    .ready()
                    .map_or(slot.planned_bytes, |zygote| zygote.private_bytes() as f64),
                is_given: slot.is_given,
            })
            .collect()
    }
}
