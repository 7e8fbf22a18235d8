//! The best start that there is: from the paused tier, a zygote, or the mount.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak::wire::{Fault, Progress, Tier};
use tokio::sync::mpsc::UnboundedSender;

use super::Supervisor;
use super::paused::Before;
use crate::environment::Tree;
use crate::fault::internal;
use crate::function::{Function, Instance, StartError, furnish};
use crate::zygote::{self, Claimed, Spare, SpareError, Zygote};

/// An instance that is ready to be asked, the tier that its start found, and its environment.
pub(super) struct Obtained {
    pub instance: Arc<Instance>,
    pub tier: Tier,
    pub tree: Arc<Tree>,
    /// What it was forked from, and its number.
    pub zygote: Option<(u64, Arc<Zygote>)>,
    /// How long it had to wait for its turn to make its environment.
    pub waited: Duration,
    /// When what a next start takes as well has begun.
    pub began: Instant,
    /// How it had been kept, where it was.
    pub before: Option<Before>,
}

impl Obtained {
    /// One that serves on, and was not kept meanwhile.
    pub fn running(instance: Arc<Instance>, tree: Arc<Tree>) -> Self {
        let (tier, waited, before) = (Tier::Paused, Duration::ZERO, Some(Before::RUNNING));
        Self { instance, tier, tree, zygote: None, waited, began: Instant::now(), before }
    }
}

impl Supervisor {
    /// The best start that there is for a function.
    pub(super) async fn obtain(
        &self,
        function: &Arc<Function>,
        progress: &UnboundedSender<Progress>,
    ) -> Result<Obtained, Fault> {
        let mut began = Instant::now();
        if let Some((instance, tree, before)) = self.resume(function) {
            let (tier, waited, before) = (Tier::Paused, Duration::ZERO, Some(before));
            return Ok(Obtained { instance, tier, tree, zygote: None, waited, began, before });
        }
        let known = self.environments.find(function).await?;
        let seen = known.clone().or_else(|| {
            let key = self.environments.known_key(function)?;
            self.zygotes.tree(&key)
        });
        if let Some(tree) = seen.filter(|_| self.settings.tiers.zygote)
            && let Some(choice) = self.zygotes.choose(function, &tree)
        {
            let tier = if choice.helps { Tier::Zygote } else { Tier::Ssd };
            let zygote = choice.zygote;
            let wider = (!choice.is_whole).then_some(&*tree);
            match self.fork(&zygote, function, wider).await? {
                Ok(spare) => {
                    let instance =
                        Arc::new(Instance::new(spare, function.clone(), wider.is_some())?);
                    let (waited, zygote) = (Duration::ZERO, Some((choice.id, zygote)));
                    let before = None;
                    return Ok(Obtained { instance, tier, tree, zygote, waited, began, before });
                }
                Err(error) => {
                    tracing::warn!(%error, function = function.info.name, "forking a zygote");
                    self.zygotes.discard(&zygote);
                }
            }
        }
        let mut waited = Duration::ZERO;
        let (tree, tier) = if let Some(tree) = known {
            (tree, Tier::Ssd)
        } else {
            let queued = Instant::now();
            let _turn = self.makings.acquire().await.map_err(internal)?;
            waited = queued.elapsed();
            let tree = match self.environments.find(function).await? {
                // Somebody else has made it meanwhile.
                Some(tree) => tree,
                None => self.environments.make(function, progress).await?,
            };
            if self.settings.tiers.ssd {
                // What was made stays.
                began = Instant::now();
            }
            (tree, Tier::Cold)
        };
        let own_network = function.own_network();
        let made = zygote::sandbox(&self.sandboxes, &tree, own_network, &self.runtime).await;
        let sandbox = made.map_err(internal)?;
        let furnished = furnish(&self.sandboxes, sandbox.door(), function, None);
        let launched = Spare::launch(&self.sandboxes, sandbox);
        let (launched, furnished) = tokio::join!(launched, furnished);
        furnished?;
        let launched = launched.map_err(internal)?;
        let instance = Arc::new(Instance::new(launched, function.clone(), false)?);
        Ok(Obtained { instance, tier, tree, zygote: None, waited, began, before: None })
    }

    /// A zygote's child in a sandbox that is furnished for a function: one that has waited, or a new one,
    /// whose sandbox is furnished while it is forked. Where the zygote is no good, the inner error.
    async fn fork(
        &self,
        zygote: &Zygote,
        function: &Function,
        wider: Option<&Tree>,
    ) -> Result<Result<Spare, SpareError>, StartError> {
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
                tokio::join!(Spare::fork(zygote, *sandbox, false), furnished)
            }
        };
        match furnished {
            // Somebody has killed it meanwhile: that is not for the function to be told.
            Err(_) if door.has_ended() => Ok(forked.and(Err(SpareError::Ended))),
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
