//! The best start that is possible: from the paused tier, a zygote, or the mount.

use std::sync::{Arc, Weak};
use std::time::Instant;

use pipsqueak::wire::{Fault, Tier};
use tracing::{Instrument, info_span};

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

/// A zygote's child that was asked for.
enum Child {
    /// It waits in its sandbox.
    Ready(Box<Worker>),
    /// The zygote is no good.
    Failed(ForkError),
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
        request: &str,
    ) -> Result<Option<Obtained>, Fault> {
        let began = Instant::now();
        if let Some((instance, tree, before)) = self.resume(function) {
            let (tier, before) = (Tier::Paused, Some(before));
            return Ok(Some(Obtained { instance, tier, tree, zygote: None, began, before }));
        }
        // Not around what is resumed, of whose time it would be a thirtieth.
        let span = info_span!("start", request, function = function.info.name);
        self.start(function, prepared, began).instrument(span).await
    }

    async fn start(
        &self,
        function: &Arc<Function>,
        prepared: &Prepared,
        began: Instant,
    ) -> Result<Option<Obtained>, Fault> {
        let known = self.environments.known(function)?;
        // The request found no environment, so this start is cold.
        let is_cold = prepared.is_for(function);
        let may_share = self.settings.tiers.zygote
            && !is_cold
            && function.trust.may_fork()
            && function.variables.of_own_files().is_none();
        if may_share {
            if let Some(tree) = &known
                && let Some(obtained) = self.by_standby(function, tree, began).await?
            {
                return Ok(Some(obtained));
            }
            let seen = known.clone().or_else(|| {
                let key = self.environments.known_key(function)?;
                self.zygotes.tree(&key)
            });
            if let Some(tree) = seen
                && let Some(obtained) = self.by_zygote(function, tree, began).await?
            {
                return Ok(Some(obtained));
            }
        }
        let Some(tree) = known.or_else(|| prepared.tree(function)) else { return Ok(None) };
        let instance = self.by_interpreter(function, &tree).await?;
        let tier = if is_cold { Tier::Cold } else { Tier::Ssd };
        Ok(Some(Obtained { instance, tier, tree, zygote: None, began, before: None }))
    }

    /// An instance made of a standby, if one waits for such functions.
    async fn by_standby(
        &self,
        function: &Arc<Function>,
        tree: &Arc<Tree>,
        began: Instant,
    ) -> Result<Option<Obtained>, StartError> {
        let Some(worker) = self.zygotes.take_standby(function, tree) else { return Ok(None) };
        let door = worker.sandbox.door();
        let furnished = furnish(&self.sandboxes, door.clone(), function, None).await;
        if furnished.is_err() && door.is_ending() {
            // Somebody has killed it meanwhile, and there are other starts.
            return Ok(None);
        }
        furnished?;
        let (tier, tree) = (Tier::Zygote, tree.clone());
        let instance = Arc::new(Instance::new(worker, function.clone(), Origin::Standby)?);
        Ok(Some(Obtained { instance, tier, tree, zygote: None, began, before: None }))
    }

    /// An instance made of a zygote's child, if a zygote serves the function.
    async fn by_zygote(
        &self,
        function: &Arc<Function>,
        tree: Arc<Tree>,
        began: Instant,
    ) -> Result<Option<Obtained>, StartError> {
        let choice = self.zygotes.choose(function, &tree);
        let Some(choice) = choice.filter(|one| one.zygote.fits(function.info.tmp)) else {
            return Ok(None);
        };
        let zygote = choice.zygote;
        let wider = (!choice.is_whole).then_some(&*tree);
        match self.fork(&zygote, function, wider).await? {
            Child::Ready(worker) => {
                self.zygotes.prove(&zygote);
                let tier = if choice.helps { Tier::Zygote } else { Tier::Ssd };
                let origin = Origin::Zygote { is_wider: wider.is_some() };
                let instance = Arc::new(Instance::new(*worker, function.clone(), origin)?);
                let zygote = Some((choice.id, Arc::downgrade(&zygote)));
                Ok(Some(Obtained { instance, tier, tree, zygote, began, before: None }))
            }
            Child::Failed(error) => {
                tracing::warn!(%error, function = function.info.name, "forking a zygote");
                self.zygotes.discard(&zygote, &error);
                Ok(None)
            }
        }
    }

    /// An instance made of an interpreter of its own.
    async fn by_interpreter(
        &self,
        function: &Arc<Function>,
        tree: &Tree,
    ) -> Result<Arc<Instance>, Fault> {
        let commons = function.commons();
        let made = worker::sandbox(&self.sandboxes, tree, commons, &self.runtime).await;
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
        Ok(Arc::new(Instance::new(launched, function.clone(), Origin::Interpreter)?))
    }

    /// A zygote's child in a sandbox that is furnished for a function: one that has waited, or a new one,
    /// whose sandbox is furnished while it is forked.
    async fn fork(
        &self,
        zygote: &Zygote,
        function: &Function,
        wider: Option<&Tree>,
    ) -> Result<Child, StartError> {
        let claimed = match self.zygotes.claim(zygote).await {
            Ok(claimed) => claimed,
            Err(error) => return Ok(Child::Failed(error)),
        };
        let door = match &claimed {
            Claimed::Spare(spare) => spare.sandbox.door(),
            Claimed::Sandbox(sandbox) => sandbox.door(),
        };
        let furnished = furnish(&self.sandboxes, door.clone(), function, wider);
        let (forked, furnished) = match claimed {
            Claimed::Spare(spare) => (Child::Ready(spare), furnished.await),
            Claimed::Sandbox(sandbox) => {
                let fork = zygote::fork(zygote, *sandbox, false);
                let (forked, furnished) = tokio::join!(fork, furnished);
                let forked = forked.map(Box::new).map_or_else(Child::Failed, Child::Ready);
                (forked, furnished)
            }
        };
        match (forked, furnished) {
            // Somebody has killed it meanwhile: that is not for the function to be told.
            (Child::Ready(_), Err(_)) if door.is_ending() => Ok(Child::Failed(ForkError::Ended)),
            (forked, Err(_)) if door.is_ending() => Ok(forked),
            (forked, furnished) => furnished.map(|()| forked),
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
