//! Growth of the zygotes' tree: plans are made when starts were learned from, and carried out one zygote
//! after the other.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::sync::{Arc, Weak};
use std::time::Duration;

use pipsqueak_policy::zygotes::{self, Cost, ModuleId, Modules, Parent, Realm, Start, ZygoteId};

use super::error::ZygoteError;
use super::imports::Unsafe;
use super::node::{Imports, Surroundings, Zygote};
use super::pool::{Inner, Pool, Slot, State};
use crate::environment::{EnvironmentsError, Tree};
use crate::sandbox::SandboxError;

/// Longest time for which a plan waits for a pause in requests.
const PATIENCE: Duration = Duration::from_millis(200);
/// Pause between looks for zygotes that are no longer needed.
const DECAY_PACE: Duration = Duration::from_secs(60);
/// Maximum number of failed zygotes that are reported.
const FAILED: usize = 16;

/// The reason why a planned zygote was not started.
#[derive(Debug, thiserror::Error)]
enum GrowError {
    /// Starting the zygote failed.
    #[error(transparent)]
    Zygote(#[from] ZygoteError),
    /// The zygote's environment failed.
    #[error(transparent)]
    Environment(#[from] EnvironmentsError),
    /// The parent zygote is gone.
    #[error("the zygote that it was to be forked from is gone")]
    Parent,
}

/// A start that is being carried out.
pub(super) struct Growth {
    id: u64,
    parent: Option<u64>,
    tree: Arc<Tree>,
    start: Start,
    /// The modules that the zygote is to import, by name.
    pub wanted: HashMap<String, ModuleId>,
}

impl Growth {
    /// Leaves out modules that no zygote may import.
    fn leave_out(&mut self, barred: &Modules) {
        self.wanted.retain(|_, module| !barred.contains(*module));
        self.start.imports = self.start.imports.difference(barred);
        self.start.modules = self.start.modules.difference(barred);
    }
}

impl Pool {
    /// Plans on news until the pool is gone.
    pub fn grow(self: &Arc<Self>) {
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(grown) = Self::next_news(&pool).await {
                grown.carry_out_plan().await;
            }
        });
    }

    /// Waits for news. Looks for unneeded zygotes meanwhile.
    async fn next_news(pool: &Weak<Self>) -> Option<Arc<Self>> {
        loop {
            let waiting = pool.upgrade()?;
            let news = tokio::time::timeout(DECAY_PACE, waiting.news.wait()).await;
            match news {
                Ok(()) => {
                    waiting.traffic.pause(PATIENCE).await;
                    return Some(waiting);
                }
                Err(_) => waiting.decay(),
            }
        }
    }

    /// Ends zygotes that are no longer needed.
    fn decay(&self) {
        let now = self.now();
        let inner = &mut *self.lock();
        let standing = inner.standing();
        if !standing.is_empty() {
            let plan = inner.policy.plan(&standing, self.room(), now);
            inner.retire(&plan.retire);
        }
    }

    async fn carry_out_plan(self: &Arc<Self>) {
        let known = self.news.known();
        let growths = {
            let now = self.now();
            let inner = &mut *self.lock();
            let given = std::mem::take(&mut inner.given);
            let mut growths = inner.prepare(given, true);
            let standing = inner.standing();
            let plan = inner.policy.plan(&standing, self.room(), now);
            inner.retire(&plan.retire);
            growths.extend(inner.prepare(plan.start, false));
            growths
        };
        let mut is_whole = true;
        for mut growth in growths {
            let id = growth.id;
            if !self.lock().slots.contains_key(&id) {
                // The zygote was evicted while others were started.
                continue;
            }
            match self.start_without_failing(&mut growth).await {
                Ok(zygote) => self.settle_ready(&growth, zygote),
                Err(GrowError::Zygote(ZygoteError::Sandbox(SandboxError::Stopping))) => return,
                Err(GrowError::Parent) => {
                    // The next plan replaces this one, from the zygotes that are there then.
                    self.lock().slots.remove(&id);
                    is_whole = false;
                }
                Err(GrowError::Zygote(ZygoteError::Unsafe(found)))
                    if found.keys().all(|module| growth.wanted.contains_key(module)) =>
                {
                    tracing::info!(zygote = id, ?found, "not for zygotes");
                    let inner = &mut *self.lock();
                    inner.bar(&growth, found);
                    inner.slots.remove(&id);
                    is_whole = false;
                }
                Err(error) => {
                    tracing::warn!(zygote = id, %error, "a zygote could not be started");
                    let now = self.now();
                    let pause = self.lock().settle_failed(id, error.to_string(), now);
                    self.wake_after(pause);
                }
            }
        }
        if is_whole {
            self.news.follow(known);
        } else {
            self.news.wake();
        }
    }

    /// Gives up a zygote that no longer forks, or whose children are of no use. It counts as one that could
    /// not be started, so another takes its place only after a pause.
    pub fn discard(self: &Arc<Self>, zygote: &Arc<Zygote>, why: &dyn Error) {
        let now = self.now();
        let pause = {
            let inner = &mut *self.lock();
            let Some(id) = inner.number(zygote) else { return };
            inner.settle_failed(id, why.to_string(), now)
        };
        self.wake_after(pause);
        // Another zygote may serve meanwhile.
        self.news.wake();
    }

    /// Notes that a child of a zygote has reached the point where it waits for its function.
    pub fn prove(&self, zygote: &Arc<Zygote>) {
        if !zygote.proves() {
            return;
        }
        let now = self.now();
        let inner = &mut *self.lock();
        if let Some(slot) = inner.number(zygote).and_then(|id| inner.slots.get(&id)) {
            let (realm, planned) = (slot.seen.realm, slot.planned.clone());
            inner.policy.succeeded(realm, &planned, now);
            inner.forget_failed(realm, &planned);
        }
    }

    /// Wakes the planner after the pause, if there is one.
    fn wake_after(self: &Arc<Self>, pause: Option<Duration>) {
        let Some(pause) = pause else { return };
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(pool) = pool.upgrade() {
                pool.news.wake();
            }
        });
    }

    /// Starts a zygote. If the import of a module fails in it, starts another without that module, until no
    /// import fails.
    async fn start_without_failing(
        self: &Arc<Self>,
        growth: &mut Growth,
    ) -> Result<Zygote, GrowError> {
        loop {
            growth.leave_out(&self.lock().policy.barred());
            match self.start(growth).await {
                Err(GrowError::Zygote(ZygoteError::Failed(failed)))
                    if growth.wanted.contains_key(&failed.module) =>
                {
                    tracing::info!(zygote = growth.id, ?failed, "not for zygotes");
                    let inner = &mut *self.lock();
                    inner.note_failed(growth, &failed);
                    if !inner.slots.contains_key(&growth.id) {
                        return Err(ZygoteError::Failed(failed).into());
                    }
                }
                started => return started,
            }
        }
    }

    async fn start(self: &Arc<Self>, growth: &Growth) -> Result<Zygote, GrowError> {
        let parent = match growth.parent {
            None => None,
            Some(id) => Some(self.ready(id).ok_or(GrowError::Parent)?),
        };
        let digests: BTreeSet<String> = {
            let names = &self.lock().policy.names;
            let digests = growth.start.distributions.iter().map(|one| names.digest(one));
            digests.map(ToOwned::to_owned).collect()
        };
        let kind = self.lock().kinds.get(&growth.start.realm).cloned().unwrap_or_default();
        let tree = match kind.whole {
            Some(_) => growth.tree.clone(),
            None => self.environments.part(&growth.tree, digests).await?,
        };
        if let Some(slot) = self.lock().slots.get_mut(&growth.id) {
            slot.tree = tree.clone();
        }
        let mut modules: Vec<String> = growth.wanted.keys().cloned().collect();
        modules.sort();
        let wanted = Imports { modules, trusted: &self.trusted };
        let sandboxes = self.sandboxes.clone();
        let (commons, variables) = (kind.commons(), kind.variables);
        let from = Surroundings { parent: parent.clone(), tree, commons, variables };
        let spares = self.budget.spares;
        let started = Zygote::start(sandboxes, from, wanted, &self.runtime, spares).await;
        if let (Some(parent), Err(ZygoteError::Parent(why))) = (&parent, &started) {
            self.discard(parent, why);
        }
        Ok(started?)
    }

    fn ready(&self, id: u64) -> Option<Arc<Zygote>> {
        self.lock().slots.get(&id)?.state.ready().cloned()
    }

    #[expect(clippy::cast_precision_loss, reason = "a time and a size, far below 2^52")]
    fn settle_ready(self: &Arc<Self>, growth: &Growth, zygote: Zygote) {
        let zygote = Arc::new(zygote);
        let inner = &mut *self.lock();
        for one in zygote.imported() {
            if let Some(module) = growth.wanted.get(&one.module) {
                let cost = Cost { us: one.us as f64, bytes: one.bytes.max(0) as f64 };
                inner.policy.costs.observe(*module, cost);
            }
        }
        let parameters = *inner.policy.parameters();
        let bytes = inner.policy.costs.sum(&growth.start.modules).bytes;
        let left_out = inner.left_out(&growth.tree);
        let modules = growth.start.modules.clone();
        // A zygote that was evicted while it was starting is dropped here, and ends.
        let Some(slot) = inner.slots.get_mut(&growth.id) else { return };
        slot.seen.fork_us =
            parameters.fork_us + parameters.fork_us_per_mib * bytes / f64::from(1 << 20);
        slot.seen.modules = modules;
        slot.left_out = left_out;
        slot.state = State::Ready(zygote.clone());
        let pool = self.clone();
        // Spawn, because `refill` takes the lock itself.
        tokio::spawn(async move { pool.refill(&zygote) });
    }

    #[expect(clippy::cast_precision_loss, reason = "a size, far below 2^52")]
    fn room(&self) -> f64 {
        self.budget.memory.now() as f64
    }
}

impl Inner {
    fn retire(&mut self, ids: &[ZygoteId]) {
        for id in ids {
            self.slots.remove(&id.0);
        }
    }

    /// Adds slots for planned zygotes, except those for which no known environment has all distributions.
    fn prepare(&mut self, starts: Vec<Start>, is_given: bool) -> Vec<Growth> {
        let mut growths = Vec::new();
        let mut ids = Vec::new();
        for start in starts {
            let parent = match start.parent {
                Parent::Nobody => None,
                Parent::Standing(id) => Some(id.0),
                Parent::Planned(place) => ids.get(place).copied(),
            };
            self.last_id += 1;
            let id = self.last_id;
            ids.push(id);
            let Some(tree) = self.source(&start) else { continue };
            let names = &self.policy.names;
            let wanted = start.imports.iter();
            let wanted = wanted.map(|one| (names.module_named(one).name.clone(), one)).collect();
            let seen = zygotes::Zygote {
                id: ZygoteId(id),
                realm: start.realm,
                distributions: start.distributions.clone(),
                modules: start.modules.clone(),
                fork_us: 0.0,
            };
            let slot = Slot {
                id,
                parent,
                tree: tree.clone(),
                state: State::Starting,
                left_out: Unsafe::new(),
                seen,
                planned: start.modules.clone(),
                planned_bytes: start.bytes,
                is_given,
            };
            self.slots.insert(id, slot);
            growths.push(Growth { id, parent, tree, start, wanted });
        }
        growths
    }

    /// An environment that has all of a start's distributions.
    pub fn source(&self, start: &Start) -> Option<Arc<Tree>> {
        let found = self.known.iter().find(|(name, _)| {
            self.policy.function(name).is_some_and(|function| {
                function.realm == start.realm
                    && start.distributions.is_subset(&function.environment.distributions)
            })
        });
        found.map(|(_, known)| known.tree.clone()).or_else(|| {
            let names = &self.policy.names;
            let mut given = self.sources.iter().filter(|tree| {
                let has = |one| tree.distributions.contains_key(names.digest(one));
                start.distributions.iter().all(has)
            });
            given.next().cloned()
        })
    }

    /// Removes slots of failed zygotes of the same realm and planned modules.
    fn forget_failed(&mut self, realm: Realm, planned: &Modules) {
        self.slots.retain(|_, slot| {
            let is_same = slot.seen.realm == realm && slot.planned == *planned;
            !is_same || !matches!(slot.state, State::Failed(_))
        });
    }

    /// The number of a zygote that is ready.
    fn number(&self, zygote: &Arc<Zygote>) -> Option<u64> {
        let is_same = |slot: &&Slot| slot.state.ready().is_some_and(|one| Arc::ptr_eq(one, zygote));
        self.slots.values().find(is_same).map(|slot| slot.id)
    }

    /// Marks a zygote as failed, and returns the pause before it is planned again. `None` if the zygote was
    /// evicted meanwhile: the policy then hears nothing of the failure.
    fn settle_failed(&mut self, id: u64, reason: String, now: f64) -> Option<Duration> {
        let slot = self.slots.get(&id)?;
        let (realm, planned) = (slot.seen.realm, slot.planned.clone());
        // Report the failure once, however often the zygote was tried.
        self.forget_failed(realm, &planned);
        let slot = self.slots.get_mut(&id)?;
        slot.state = State::Failed(reason);
        let pause = self.policy.failed(realm, &planned, now);
        let failed = self.slots.values().filter(|slot| matches!(slot.state, State::Failed(_)));
        let failed: Vec<u64> = failed.map(|slot| slot.id).collect();
        for id in failed.iter().rev().skip(FAILED) {
            self.slots.remove(id);
        }
        Some(Duration::from_secs_f64(pause))
    }
}
