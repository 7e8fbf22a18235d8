//! The best start that is possible: from the paused tier, a zygote, or the mount.

use std::sync::{Arc, Weak};
use std::time::Instant;

use pipsqueak::wire::{Fault, Tier};

use super::Invocations;
use super::paused::Before;
use super::prepare::Prepared;
use crate::deployment::Function;
use crate::environment::Tree;
use crate::fault::internal;
use crate::instance::{Instance, Origin};
use crate::worker::{self, StartError, Worker, furnish};
use crate::zygote::{self, Claimed, ForkError, Zygote};

/// An instance that is ready to be asked, the tier that its start found, and its environment.
pub(super) struct Obtained {
    pub instance: Arc<Instance>,
    pub tier: Tier,
    pub tree: Arc<Tree>,
    /// Number of the zygote that the instance was forked from, and the zygote. Weak, so that an evicted
    /// zygote ends at once, with its spares, while its child serves.
    pub zygote: Option<(u64, Weak<Zygote>)>,
    /// Begin of the part of this start that a next start takes as well.
    pub began: Instant,
    /// Data of the instance's stay in the paused tier, if it was kept there.
    pub before: Option<Before>,
}

impl Obtained {
    /// An instance that serves on, and was not kept meanwhile.
    pub fn running(instance: Arc<Instance>, tree: Arc<Tree>) -> Self {
        let (tier, before) = (Tier::Paused, Some(Before::RUNNING));
        Self { instance, tier, tree, zygote: None, began: Instant::now(), before }
    }
}

impl Invocations {
    /// Starts a function in the best way. `None` if its environment is neither there nor `prepared`.
    pub(super) async fn obtain(
        &self,
        function: &Arc<Function>,
        prepared: &Prepared,
    ) -> Result<Option<Obtained>, Fault> {
        let began = Instant::now();
        if let Some((instance, tree, before)) = self.resume(function) {
            let (tier, before) = (Tier::Paused, Some(before));
            return Ok(Some(Obtained { instance, tier, tree, zygote: None, began, before }));
        }
        let known = self.environments.known(function)?;
        // The request found no environment, so this start is cold.
        let is_cold = prepared.is_for(function);
        let seen = known.clone().or_else(|| {
            let key = self.environments.known_key(function)?;
            self.zygotes.tree(&key)
        });
        let may_share = self.settings.tiers.zygote
            && !is_cold
            && function.trust.may_fork()
            && function.variables.of_own_files().is_none();
        if let Some(tree) = known.as_ref().filter(|_| may_share)
            && let Some(worker) = self.zygotes.take_standby(function, tree)
        {
            let furnished = furnish(&self.sandboxes, worker.sandbox.door(), function, None).await;
            // If the standby was killed meanwhile, the other starts are tried.
            if furnished.is_ok() || !worker.sandbox.door().is_ending() {
                furnished?;
                let (tier, tree, origin) = (Tier::Zygote, tree.clone(), Origin::Standby);
                let instance = Arc::new(Instance::new(worker, function.clone(), origin)?);
                return Ok(Some(Obtained {
                    instance,
                    tier,
                    tree,
                    zygote: None,
                    began,
                    before: None,
                }));
            }
        }
        if let Some(tree) = seen.filter(|_| may_share)
            && let Some(choice) = self.zygotes.choose(function, &tree)
            && choice.zygote.fits(function.info.tmp)
        {
            let tier = if choice.helps { Tier::Zygote } else { Tier::Ssd };
            let zygote = choice.zygote;
            let wider = (!choice.is_whole).then_some(&*tree);
            match self.fork(&zygote, function, wider).await? {
                Ok(worker) => {
                    self.zygotes.prove(&zygote);
                    let origin = Origin::Zygote { is_wider: wider.is_some() };
                    let instance = Arc::new(Instance::new(worker, function.clone(), origin)?);
                    let (zygote, before) = (Some((choice.id, Arc::downgrade(&zygote))), None);
                    return Ok(Some(Obtained { instance, tier, tree, zygote, began, before }));
                }
                Err(error) => {
                    tracing::warn!(%error, function = function.info.name, "forking a zygote");
                    self.zygotes.discard(&zygote, &error);
                }
            }
        }
        let Some(tree) = known.or_else(|| prepared.tree(function)) else { return Ok(None) };
        let tier = if is_cold { Tier::Cold } else { Tier::Ssd };
        let commons = function.commons();
        let made = worker::sandbox(&self.sandboxes, &tree, commons, &self.runtime).await;
        let sandbox = made.map_err(internal)?;
        let furnished = furnish(&self.sandboxes, sandbox.door(), function, None);
        let launched = Worker::launch(&self.sandboxes, sandbox, function.variables.all(), false);
        let launched = if function.variables.of_own_files().is_some() {
            // The function's files must be there when the interpreter starts.
            furnished.await?;
            launched.await
        } else {
            let (launched, furnished) = tokio::join!(launched, furnished);
            furnished?;
            launched
        };
        let launched = launched.map_err(internal)?;
        let instance = Arc::new(Instance::new(launched, function.clone(), Origin::Interpreter)?);
        Ok(Some(Obtained { instance, tier, tree, zygote: None, began, before: None }))
    }

    /// A zygote's child in a sandbox that is furnished for a function. The child has waited as a spare,
    /// or is forked while its sandbox is furnished. The inner error says that the zygote is of no use.
    async fn fork(
        &self,
        zygote: &Zygote,
        function: &Function,
        wider: Option<&Tree>,
    ) -> Result<Result<Worker, ForkError>, StartError> {
        let claimed = match self.zygotes.claim(zygote).await {
            Ok(claimed) => claimed,
            Err(error) => return Ok(Err(error)),
        };
        let door = match &claimed {
            Claimed::Spare(spare) => spare.sandbox.door(),
            Claimed::Sandbox(sandbox) => sandbox.door(),
        };
        let furnished = furnish(&self.sandboxes, door.clone(), function, wider);
        let (forked, furnished) = match claimed {
            Claimed::Spare(spare) => (Ok(*spare), furnished.await),
            Claimed::Sandbox(sandbox) => {
                tokio::join!(zygote::fork(zygote, *sandbox, false), furnished)
            }
        };
        match furnished {
            // The sandbox was killed meanwhile, which is not the function's fault.
            Err(_) if door.is_ending() => Ok(forked.and(Err(ForkError::Ended))),
            furnished => furnished.map(|()| forked),
        }
    }

    fn resume(&self, function: &Arc<Function>) -> Option<(Arc<Instance>, Arc<Tree>, Before)> {
        loop {
            let (paused, before) = self.paused.take(&function.info.name)?;
            if !self.is_current(function, paused.instance(), paused.tree()) {
                continue;
            }
            match paused.resume() {
                Ok((instance, tree)) => return Some((instance, tree, before)),
                Err(error) => tracing::warn!(%error, "resuming a paused sandbox"),
            }
        }
    }
}
