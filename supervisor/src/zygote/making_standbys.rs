//! Making and taking of standbys.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::kind::Kind;
use super::pool::{Inner, Pool};
use super::standbys::{Line, PATIENCE, Purpose, Standby, StandbyError};
use crate::channel;
use crate::deployment::Function;
use crate::environment::Tree;
use crate::protocol::{Prepared, ToFunction, VERSION};
use crate::sync::lock;
use crate::worker::{Worker, sandbox};

/// Longest time for which making a standby waits for a pause in requests.
const TRAFFIC_PATIENCE: Duration = Duration::from_secs(1);
/// Maximum number of waiting standbys of one sort.
const MOST: usize = 2;

impl Pool {
    /// Takes a standby for a function, if one fits.
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
            // A standby that was killed, or that has more memory than the function may, is dropped.
            let Standby { worker, .. } = standby;
            if worker.is_alive() && worker.sandbox.group().memory() < function.info.memory {
                line.demand.started(now);
                return Some(worker);
            }
        }
        None
    }

    /// Requests standbys for functions like this one, if its start has shown that it needs modules that no
    /// zygote may import.
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

    /// Makes the missing standbys in the background, one after the other.
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

    /// The next standby to make, if one is missing and there is room for it.
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
        let order = ToFunction::Standby { protocol: VERSION, modules: &purpose.modules };
        channel::ask(&mut worker.channel, &[channel::compose(&order, b"")?]).await?;
        let hear = channel::receive(&mut worker.channel, channel::MAX_MESSAGE_BYTES);
        let told = tokio::time::timeout(PATIENCE, hear).await.map_err(|_| StandbyError::Slow)??;
        let (Prepared { mut reads, failed }, _) = told.ok_or(StandbyError::Ended)?;
        if limit.was_read()? {
            reads.note_limit();
        }
        match failed {
            Some(why) => Err(StandbyError::Import(why)),
            None => Ok(Standby { worker, reads }),
        }
    }

    /// Drops all waiting standbys.
    pub fn evict_standbys(&self) {
        // Standbys end outside of the lock.
        let lines = std::mem::take(&mut *lock(&self.standbys.0));
        drop(lines);
    }

    /// Number of waiting standbys.
    pub fn standbys(&self) -> usize {
        lock(&self.standbys.0).0.iter().map(|line| line.ready.len()).sum()
    }

    /// Number of waiting standbys that fit a function: of its realm and environment, and without
    /// differences in what their imports have read.
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
    /// Modules that a function imports and no zygote may have.
    fn unforkable(&self, function: &Function, tree: &Tree) -> BTreeSet<String> {
        let Some(needs) = self.policy.function(&function.info.name) else { return BTreeSet::new() };
        let left_out = self.left_out(tree);
        let names = needs.modules.iter().map(|one| &self.policy.names.module_named(one).name);
        names.filter(|name| left_out.contains_key(*name)).cloned().collect()
    }
}
