//! The supervisor itself: what it keeps, and the path of an invocation through it.

mod care;
mod status;
mod turn;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pipsqueak::settings::Settings;
use pipsqueak::wire::{
    Deploy, Evict, Explanation, Fault, FaultKind, FunctionInfo, Invocation, Progress, Tier,
};
use serde_json::value::RawValue;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, watch};

use crate::containers::Containers;
use crate::dispatch::{After, Gate, InFlight, Traffic, Turn};
use crate::environment::{Environments, Tree};
use crate::eviction::lru::Lru;
use crate::fault::internal;
use crate::function::{Function, Functions, Instance, Paused};
use crate::mount::Keeper;
use crate::sandbox::Sandboxes;
use crate::zygote::{Budget, Pool, Spare, Zygote};
pub use turn::Asked;
use turn::{Running, Serving};

/// How often memory is asked for while no sandbox is started.
const SHRINK_PACE: Duration = Duration::from_millis(100);

/// Everything that a running supervisor has.
#[derive(Debug)]
pub struct Supervisor {
    /// Where things are and what is in use.
    pub settings: Settings,
    /// The environments.
    pub environments: Arc<Environments>,
    /// What containers have of them.
    pub containers: Arc<Containers>,
    /// The functions.
    pub functions: Functions,
    /// What makes sandboxes.
    pub sandboxes: Arc<Sandboxes>,
    /// The mount.
    pub keeper: Arc<Keeper>,
    /// The zygotes.
    pub zygotes: Arc<Pool>,
    runtime: PathBuf,
    paused: Mutex<Lru<Paused>>,
    running: Running,
    gate: Gate<Serving>,
    starts: Mutex<BTreeMap<Tier, u64>>,
    requests: AtomicU64,
    /// When memory was asked for last.
    shrunk: Mutex<Option<Instant>>,
    traffic: Arc<Traffic>,
    /// As many environments are made for waiting requests at once as there are processors: more at
    /// once would all be done later.
    makings: Semaphore,
    stopping: watch::Sender<bool>,
}

/// What is left of an invocation when its reply is sent.
#[derive(Debug)]
pub struct Kept {
    function: Arc<Function>,
    instance: Arc<Instance>,
    run: Duration,
    tier: Tier,
    tree: Arc<Tree>,
    zygote: Option<(u64, Arc<Zygote>)>,
    imported: Vec<String>,
    turn: Turn<Serving>,
}

/// An instance that is ready to be asked, the tier that its start found, and its environment.
struct Obtained {
    instance: Arc<Instance>,
    tier: Tier,
    tree: Arc<Tree>,
    /// What it was forked from, and its number.
    zygote: Option<(u64, Arc<Zygote>)>,
    /// How long it had to wait for its turn to make its environment.
    waited: Duration,
}

impl Supervisor {
    /// Puts a supervisor together. `runtime` is the folder of the Python runtime; `stopping` is set
    /// when a client asks for the end.
    pub fn new(
        settings: Settings,
        parts: (Arc<Environments>, Arc<Containers>, Functions, Arc<Sandboxes>, Arc<Keeper>),
        runtime: PathBuf,
        stopping: watch::Sender<bool>,
    ) -> Self {
        let (environments, containers, functions, sandboxes, keeper) = parts;
        let traffic = Arc::<Traffic>::default();
        let budget = Budget { memory: settings.memory, spares: settings.spares };
        let parts = (sandboxes.clone(), environments.clone(), traffic.clone());
        let zygotes = Pool::new(parts, runtime.clone(), budget, settings.fork_safe.clone());
        let zygotes = Arc::new(zygotes);
        let gate = Gate::new(settings.sandboxes, settings.queue);
        Self {
            settings,
            environments,
            containers,
            functions,
            sandboxes,
            keeper,
            zygotes,
            runtime,
            paused: Mutex::default(),
            running: Arc::default(),
            gate,
            starts: Mutex::default(),
            requests: AtomicU64::new(0),
            shrunk: Mutex::default(),
            traffic,
            makings: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            stopping,
        }
    }

    /// Runs a function once: queue, start, handler. The instance comes back in [`Kept`], to be
    /// given to [`Self::after`] when the reply has been sent.
    pub async fn invoke(
        &self,
        name: &str,
        payload: &RawValue,
        asked: &Asked<'_>,
        progress: &UnboundedSender<Progress>,
    ) -> Result<(Invocation, Kept), Fault> {
        let arrived = asked.arrived;
        let (function, turn) = self.admit(name, payload, asked).await?;
        let began = Instant::now();
        let obtained = self.serve(&turn, &function, progress).await?;
        let queue_us = micros(began - arrived + obtained.waited);
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("{}-{number}", std::process::id());
        let noted = self.note_running(&obtained.instance);
        obtained.instance.share_processors(turn.sharers()).map_err(internal)?;
        let answered = obtained.instance.invoke(&request_id, payload).await.map_err(internal)?;
        drop(noted);
        *lock(&self.starts).entry(obtained.tier).or_default() += 1;
        let total_us = micros(arrived.elapsed());
        let (result, error) = match answered.result {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        let invocation = Invocation {
            result,
            error,
            outcome: answered.outcome,
            tier: obtained.tier,
            queue_us,
            start_us: total_us.saturating_sub(queue_us).saturating_sub(answered.run_us),
            run_us: answered.run_us,
            total_us,
            logs: answered.logs,
            request_id,
        };
        let Obtained { tier, tree, zygote, .. } = obtained;
        if self.settings.tiers.zygote && tier != Tier::Paused {
            // Ahead of the reply: who has it can see that there is more to come.
            self.zygotes.announce();
        }
        let instance = obtained.instance;
        let imported = if tier == Tier::Paused { Vec::new() } else { instance.take_imported() };
        let run = Duration::from_micros(answered.run_us);
        let kept = Kept { function, instance, run, tier, tree, zygote, imported, turn };
        Ok((invocation, kept))
    }

    /// What follows a reply: the instance is frozen and kept, its environment gets a zygote, and that
    /// another spare.
    pub fn after(&self, after: After) {
        if let Some(kept) = after.kept {
            let Kept { function, instance, run, tier, tree, zygote, imported, turn } = kept;
            if self.settings.tiers.zygote && tier != Tier::Paused {
                // What a start that has failed has not imported tells nothing.
                let told = instance.is_fit().then_some(imported);
                let had = zygote.as_ref().map(|(id, _)| *id);
                let (zygotes, tree) = (self.zygotes.clone(), tree.clone());
                tokio::spawn(async move { zygotes.learn(&function, &tree, told, had).await });
            }
            drop(instance);
            if let Some(vacated) = turn.end(run)
                && let Some(Serving { instance, tree }) = vacated.take()
                && instance.is_fit()
            {
                self.keep(instance, &tree);
            }
            if let Some((_, zygote)) = zygote {
                self.zygotes.refill(&zygote);
            }
            if tier != Tier::Paused || self.is_time_to_shrink() {
                self.shrink();
            }
        }
        if after.stop {
            self.stopping.send_replace(true);
        }
    }

    /// The best start that there is for a function.
    async fn obtain(
        &self,
        function: &Arc<Function>,
        progress: &UnboundedSender<Progress>,
    ) -> Result<Obtained, Fault> {
        if let Some((instance, tree)) = self.resume(function) {
            let (tier, waited) = (Tier::Paused, Duration::ZERO);
            return Ok(Obtained { instance, tier, tree, zygote: None, waited });
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
            match self.zygotes.spare(&zygote).await {
                Ok(spare) => {
                    let wider = (!choice.is_whole).then_some(&*tree);
                    let started = Instance::start(&self.sandboxes, spare, function.clone(), wider);
                    let instance = Arc::new(started.await?);
                    let (waited, zygote) = (Duration::ZERO, Some((choice.id, zygote)));
                    return Ok(Obtained { instance, tier, tree, zygote, waited });
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
            (tree, Tier::Cold)
        };
        let own_network = function.own_network();
        let launched = Spare::launch(&self.sandboxes, &tree, own_network, &self.runtime).await;
        let launched = launched.map_err(internal)?;
        let started = Instance::start(&self.sandboxes, launched, function.clone(), None);
        let instance = Arc::new(started.await?);
        Ok(Obtained { instance, tier, tree, zygote: None, waited })
    }

    fn resume(&self, function: &Arc<Function>) -> Option<(Arc<Instance>, Arc<Tree>)> {
        loop {
            let paused = lock(&self.paused).take(&function.info.name)?;
            if !self.is_current(function, paused.instance(), paused.tree()) {
                continue;
            }
            match paused.resume() {
                Ok(resumed) => return Some(resumed),
                Err(error) => tracing::warn!(%error, "resuming a paused sandbox"),
            }
        }
    }

    fn keep(&self, instance: Arc<Instance>, tree: &Arc<Tree>) {
        let name = instance.function().info.name.clone();
        let is_current = self
            .functions
            .get(&name)
            .is_ok_and(|current| current.info.version == instance.function().info.version);
        if !self.settings.tiers.paused || !is_current {
            return;
        }
        match instance.pause(tree.clone()) {
            Ok(paused) => {
                let bytes = paused.instance().sandbox().group().memory();
                lock(&self.paused).keep(&name, bytes, paused);
            }
            Err(error) => tracing::warn!(%error, function = name, "pausing a sandbox"),
        }
    }

    /// Whether it is a while since memory was asked for last: what only went on grows slowly.
    fn is_time_to_shrink(&self) -> bool {
        let now = Instant::now();
        let mut shrunk = lock(&self.shrunk);
        let is_time = shrunk.is_none_or(|last| now - last > SHRINK_PACE);
        if is_time {
            *shrunk = Some(now);
        }
        is_time
    }

    /// Drops what was not used for longest until the memory budget is kept: paused sandboxes
    /// first, because a spare serves every function of its zygote, and a zygote makes spares.
    fn shrink(&self) {
        let mut zygotes = self.zygotes.bytes();
        while lock(&self.paused).bytes() + zygotes > self.settings.memory {
            if lock(&self.paused).take_oldest().is_none() {
                break;
            }
        }
        if zygotes > self.settings.memory {
            self.zygotes.evict_spares();
            zygotes = self.zygotes.bytes();
        }
        if zygotes > self.settings.memory {
            self.zygotes.shrink();
        }
    }

    /// Deploys a function and drops the paused sandboxes of its earlier version.
    pub async fn deploy(self: &Arc<Self>, deploy: Deploy) -> Result<FunctionInfo, Fault> {
        let supervisor = self.clone();
        let deployed = tokio::task::spawn_blocking(move || supervisor.functions.deploy(deploy));
        let function = deployed.await.map_err(internal)??;
        lock(&self.paused).take_all(|owner, _| owner == function.info.name);
        Ok(function.info.clone())
    }

    /// Removes a function and its paused sandboxes.
    pub async fn remove_function(self: &Arc<Self>, name: &str) -> Result<(), Fault> {
        let supervisor = self.clone();
        let owned = name.to_owned();
        let removed = tokio::task::spawn_blocking(move || supervisor.functions.remove(&owned));
        removed.await.map_err(internal)??;
        self.zygotes.forget(name);
        self.gate.forget(name);
        lock(&self.paused).take_all(|owner, _| owner == name);
        Ok(())
    }

    /// Drops what tiers keep; says what was dropped.
    pub fn evict(&self, evict: &Evict) -> Result<String, Fault> {
        let both = !evict.paused && !evict.zygotes;
        let function = match &evict.function {
            Some(name) => Some(self.functions.get(name)?),
            None => None,
        };
        let mut paused = 0;
        if evict.paused || both {
            let chosen =
                |owner: &str| function.as_ref().is_none_or(|function| function.info.name == owner);
            paused = lock(&self.paused).take_all(|owner, _| chosen(owner)).len();
        }
        let mut zygotes = 0;
        if evict.zygotes || both {
            zygotes = self.zygotes.evict(function.as_ref().map(|one| one.info.name.as_str()));
        }
        Ok(format!("evicted {paused} paused sandboxes and {zygotes} zygotes"))
    }

    /// Drops everything that is kept, ahead of the end.
    pub fn clear(&self) {
        lock(&self.paused).take_all(|_, _| true);
        self.zygotes.evict(None);
    }

    /// Counts a request until what this returns is dropped.
    pub fn begin_request(&self) -> InFlight {
        self.traffic.begin()
    }

    /// How many requests have been read and not been answered.
    pub fn in_flight(&self) -> usize {
        self.traffic.count()
    }

    /// Which zygote serves a function and why, in the environment that it has now.
    pub async fn explain(&self, name: &str) -> Result<Explanation, Fault> {
        let function = self.functions.get(name)?;
        let Some(tree) = self.environments.find(&function).await? else {
            let message = format!(
                "function {name} has no environment yet: its first invocation makes it, or with the \
                 ssd tier off each"
            );
            return Err(Fault { kind: FaultKind::BadInput, message });
        };
        self.environments.imports(&tree).await?;
        Ok(self.zygotes.explain(&function, &tree))
    }

    /// Starts given trees of zygotes, of the packages of all environments of the default interpreter;
    /// how many zygotes.
    pub async fn give_zygotes(&self, trees: &str) -> Result<usize, Fault> {
        if !self.settings.tiers.zygote {
            let message = "the zygote tier is off".to_owned();
            return Err(Fault { kind: FaultKind::BadInput, message });
        }
        let environments = self.environments.trees().await?;
        Ok(self.zygotes.give(trees, environments).await?)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
