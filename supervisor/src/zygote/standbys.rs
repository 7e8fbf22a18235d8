//! Standbys: interpreters that have imported ahead of a request what no zygote may have.
//!
//! A thread, an open file or a driver's context does not survive a fork, but a start need not fork: a process
//! that waits in its own sandbox, with exactly the environment of the functions that it is for, has them all
//! the same. It shares no memory with any other, so it is made last, and goes first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak_policy::zygotes::Realm;
use serde::Deserialize;

use super::demand::Demand;
use super::pool::{Inner, Pool};
use super::reads::{Difference, Reads};
use super::realms::Kind;
use crate::channel;
use crate::deployment::Function;
use crate::environment::Tree;
use crate::sync::{Mutex, lock};
use crate::worker::{Worker, WorkerError, sandbox};

/// Longest time that a standby may take to import its modules.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long making one waits for requests to be answered.
const TRAFFIC_PATIENCE: Duration = Duration::from_secs(1);
/// What one takes before any was made, in bytes.
const FIRST_GUESS: u64 = 256 << 20;
/// Standbys of one sort that wait at most.
const MOST: usize = 2;

/// Whom standbys are for: functions of a realm and an environment that import some modules.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Purpose {
    realm: Realm,
    tree: String,
    /// All that they import ahead.
    modules: BTreeSet<String>,
}

/// Standbys of one sort.
#[derive(Debug)]
struct Line {
    purpose: Purpose,
    tree: Arc<Tree>,
    kind: Kind,
    demand: Demand,
    ready: Vec<Standby>,
    is_making: bool,
    /// What the last one took, in bytes.
    bytes: u64,
    /// Why no other is made, if none is.
    failed: Option<String>,
}

#[derive(Debug)]
struct Standby {
    worker: Worker,
    reads: Reads,
}

/// All standbys.
#[derive(Debug, Default)]
pub(super) struct Standbys(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines(Vec<Line>);

/// What a standby tells when it has imported.
#[derive(Debug, Deserialize)]
struct Told {
    reads: Reads,
    /// The first import that has failed, and why.
    failed: Option<String>,
}

/// Why a standby could not be made.
#[derive(Debug, thiserror::Error)]
enum StandbyError {
    /// Its process.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Its channel.
    #[error("talking to the standby: {0}")]
    Channel(#[from] std::io::Error),
    /// It did not answer in time.
    #[error("the standby did not import its modules within {PATIENCE:?}")]
    Slow,
    /// It has ended.
    #[error("the standby ended while it imported")]
    Ended,
    /// An import has failed.
    #[error("the standby could not import {0}")]
    Import(String),
}

impl Pool {
    /// A process that waits for such a function, if there is one.
    pub fn take_standby(&self, function: &Function, tree: &Arc<Tree>) -> Option<Worker> {
        if lock(&self.standbys.0).0.is_empty() {
            return None;
        }
        let now = Instant::now();
        let (realm, needed) = {
            let inner = &mut *self.lock();
            let since = self.now();
            inner.introduce(function, tree, since);
            let modules = inner.unforkable(function, tree);
            (inner.policy.function(&function.info.name)?.realm, modules)
        };
        if needed.is_empty() {
            return None;
        }
        let mut standbys = lock(&self.standbys.0);
        let lines = standbys.0.iter_mut();
        let fit = lines.filter(|line| line.purpose.realm == realm && line.purpose.tree == tree.key);
        let helps = |line: &Line| line.purpose.modules.intersection(&needed).count();
        let line = fit
            .filter(|line| helps(line) > 0 && !line.ready.is_empty())
            .max_by_key(|line| helps(line))?;
        while let Some(standby) = line.ready.pop() {
            let differences = line.differences(&standby, function, tree);
            if !differences.is_empty() {
                line.ready.push(standby);
                drop(standbys);
                self.lock().set_apart(function, tree, differences);
                self.news.wake();
                return None;
            }
            // One that has been killed, or that has more than the function may.
            let Standby { worker, .. } = standby;
            if worker.is_alive() && worker.sandbox.group().memory() < function.info.memory {
                line.demand.started(now);
                return Some(worker);
            }
        }
        None
    }

    /// Has standbys made for functions like this one, where its start has shown that it needs what no zygote
    /// may have imported.
    pub(super) fn stand_by(self: &Arc<Self>, function: &Function, tree: &Arc<Tree>) {
        let (purpose, kind) = {
            let inner = &*self.lock();
            if inner.unforkable(function, tree).is_empty()
                || !inner.policy.has_learned(&function.info.name)
            {
                return;
            }
            let Some(needs) = inner.policy.function(&function.info.name) else { return };
            let names = &inner.policy.names;
            let modules = needs.modules.iter().map(|one| names.module_named(one).name.clone());
            let (realm, tree) = (needs.realm, tree.key.clone());
            let kind = inner.kinds.get(&realm).cloned().unwrap_or_default();
            (Purpose { realm, tree, modules: modules.collect() }, kind)
        };
        lock(&self.standbys.0).note(purpose, tree, kind);
        self.make_standbys();
    }

    /// Makes the standbys that are lacking, in the background, one after the other.
    fn make_standbys(self: &Arc<Self>) {
        let Some((purpose, tree, kind)) = self.next_standby() else { return };
        let pool = self.clone();
        tokio::spawn(async move {
            pool.traffic.pause(TRAFFIC_PATIENCE).await;
            let made = pool.make_standby(&purpose, &tree, &kind).await;
            if let Err(error) = &made {
                tracing::warn!(%error, "making a standby");
            }
            lock(&pool.standbys.0).made(&purpose, made);
            pool.make_standbys();
        });
    }

    /// What to make next, if anything is lacking and there is room for it.
    fn next_standby(&self) -> Option<(Purpose, Arc<Tree>, Kind)> {
        let now = Instant::now();
        let kept = self.bytes();
        let room = self.budget.memory.now().saturating_sub(kept);
        let most = MOST.min(self.budget.spares);
        let mut standbys = lock(&self.standbys.0);
        if standbys.0.iter().any(|line| line.is_making) {
            return None;
        }
        let line = standbys.0.iter_mut().find(|line| line.lacks(now, most) && line.bytes < room)?;
        line.is_making = true;
        Some((line.purpose.clone(), line.tree.clone(), line.kind.clone()))
    }

    async fn make_standby(
        &self,
        purpose: &Purpose,
        tree: &Arc<Tree>,
        kind: &Kind,
    ) -> Result<Standby, StandbyError> {
        let made = sandbox(&self.sandboxes, tree, kind.commons(), &self.runtime).await?;
        let limit = made.group().watch_limit()?;
        let mut worker = Worker::launch(&self.sandboxes, made, kind.variables.all(), true).await?;
        let order = serde_json::json!({ "standby": purpose.modules });
        channel::ask(&mut worker.channel, &[channel::compose(&order, b"")?]).await?;
        let hear = channel::receive(&mut worker.channel, channel::MAX_MESSAGE_BYTES);
        let told = tokio::time::timeout(PATIENCE, hear).await.map_err(|_| StandbyError::Slow)??;
        let (Told { mut reads, failed }, _) = told.ok_or(StandbyError::Ended)?;
        if limit.was_read()? {
            reads.note_limit();
        }
        match failed {
            Some(why) => Err(StandbyError::Import(why)),
            None => Ok(Standby { worker, reads }),
        }
    }

    /// Drops all standbys that wait.
    pub fn evict_standbys(&self) {
        // They end outside of the lock.
        let lines = std::mem::take(&mut *lock(&self.standbys.0));
        drop(lines);
    }

    /// All standbys that wait.
    pub fn standbys(&self) -> usize {
        lock(&self.standbys.0).0.iter().map(|line| line.ready.len()).sum()
    }

    /// Those that wait for such a function, and have seen what it would have.
    pub fn standbys_for(&self, function: &Function, tree: &Arc<Tree>) -> usize {
        let needs = self.lock().policy.function(&function.info.name).map(|needs| needs.realm);
        let standbys = lock(&self.standbys.0);
        let is_its =
            |line: &&Line| Some(line.purpose.realm) == needs && line.purpose.tree == tree.key;
        let serves = |line: &Line| {
            let serves = |one: &&Standby| line.differences(one, function, tree).is_empty();
            line.ready.iter().filter(serves).count()
        };
        standbys.0.iter().filter(is_its).map(serves).sum()
    }
}

impl Inner {
    /// What a function imports that no zygote may have.
    fn unforkable(&self, function: &Function, tree: &Tree) -> BTreeSet<String> {
        let Some(needs) = self.policy.function(&function.info.name) else { return BTreeSet::new() };
        let left_out = self.left_out(tree);
        let names = needs.modules.iter().map(|one| &self.policy.names.module_named(one).name);
        names.filter(|name| left_out.contains_key(*name)).cloned().collect()
    }
}

impl Standbys {
    /// Memory of all that wait, in bytes.
    pub fn bytes(&self) -> u64 {
        let lines = lock(&self.0);
        let ready = lines.0.iter().flat_map(|line| &line.ready);
        ready.map(|one| one.worker.sandbox.group().memory()).sum()
    }

    /// Whether one is being made.
    pub fn is_making(&self) -> bool {
        lock(&self.0).0.iter().any(|line| line.is_making)
    }
}

impl Lines {
    /// Counts a start of a function that standbys are for.
    fn note(&mut self, purpose: Purpose, tree: &Arc<Tree>, kind: Kind) {
        let now = Instant::now();
        self.0.retain(|line| !line.is_over(now));
        match self.0.iter_mut().find(|line| line.purpose == purpose) {
            Some(line) => line.demand.started(now),
            None => self.0.push(Line {
                purpose,
                tree: tree.clone(),
                kind,
                demand: Demand::new(now),
                ready: Vec::new(),
                is_making: false,
                bytes: FIRST_GUESS,
                failed: None,
            }),
        }
    }

    /// Takes in what was made; it is dropped where all were evicted meanwhile.
    fn made(&mut self, purpose: &Purpose, made: Result<Standby, StandbyError>) {
        let Some(line) = self.0.iter_mut().find(|line| line.purpose == *purpose) else { return };
        line.is_making = false;
        match made {
            Ok(standby) => {
                line.bytes = standby.worker.sandbox.group().memory();
                line.ready.push(standby);
            }
            Err(error) => line.failed = Some(error.to_string()),
        }
    }
}

impl Line {
    /// What a function would have seen otherwise than a standby has while it imported.
    fn differences(
        &self,
        standby: &Standby,
        function: &Function,
        tree: &Tree,
    ) -> BTreeSet<Difference> {
        standby.reads.differences((&self.kind.variables, tree), (&function.variables, tree))
    }

    fn lacks(&self, now: Instant, most: usize) -> bool {
        self.failed.is_none() && self.ready.len() < self.demand.spares(now, most)
    }

    /// Whether nobody has needed it for long.
    fn is_over(&self, now: Instant) -> bool {
        !self.is_making && self.demand.spares(now, 1) == 0
    }
}
