//! The supervisor itself: what it keeps, and the path of an invocation through it.

mod care;
mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pipsqueak::settings::Settings;
use pipsqueak::wire::{
    Deploy, Evict, Fault, FaultKind, FunctionInfo, Invocation, Progress, SandboxInfo, SandboxState,
    Tier,
};
use serde_json::value::RawValue;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, watch};

use crate::containers::Containers;
use crate::dispatch::{After, Pass};
use crate::environment::{Environments, Tree};
use crate::eviction::lru::Lru;
use crate::fault::internal;
use crate::function::{Born, Function, Functions, Instance, Paused};
use crate::mount::Keeper;
use crate::sandbox::Sandboxes;
use crate::zygote::{self, Pool};

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
    running: Arc<Mutex<BTreeMap<u64, SandboxInfo>>>,
    starts: Mutex<BTreeMap<Tier, u64>>,
    requests: AtomicU64,
    in_flight: AtomicUsize,
    /// As many environments are made for waiting requests at once as there are processors: more at
    /// once would all be done later.
    makings: Semaphore,
    stopping: watch::Sender<bool>,
}

/// A request that has been read and not been answered.
#[derive(Debug)]
pub struct InFlight(Arc<Supervisor>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What is left of an invocation when its reply is sent.
#[derive(Debug)]
pub struct Kept {
    instance: Option<Instance>,
    tree: Arc<Tree>,
    own_network: bool,
    _pass: Pass,
}

/// An instance that is ready to be asked, the tier that its start found, and its environment.
struct Obtained {
    instance: Instance,
    tier: Tier,
    tree: Arc<Tree>,
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
        let zygotes = Arc::new(Pool::new(sandboxes.clone(), runtime.clone()));
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
            starts: Mutex::default(),
            requests: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
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
        arrived: Instant,
        progress: &UnboundedSender<Progress>,
    ) -> Result<(Invocation, Kept), Fault> {
        let function = self.functions.get(name)?;
        let pass = function.gate.enter().await.ok_or_else(|| Fault {
            kind: FaultKind::Refused,
            message: format!("too many invocations of {name} are waiting; try again later"),
        })?;
        let began = Instant::now();
        let obtained = self.obtain(&function, progress).await?;
        let queue_us = micros(began - arrived + obtained.waited);
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("{}-{number}", std::process::id());
        let noted = self.note_running(number, &obtained.instance);
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
        let own_network = function.own_network();
        let kept =
            Kept { instance: answered.instance, tree: obtained.tree, own_network, _pass: pass };
        Ok((invocation, kept))
    }

    /// What follows a reply: the instance is frozen and kept, its environment gets a zygote.
    pub fn after(&self, after: After) {
        if let Some(kept) = after.kept {
            let Kept { instance, tree, own_network, _pass } = kept;
            if let Some(instance) = instance {
                self.keep(instance, &tree);
            }
            if self.settings.tiers.zygote {
                self.zygotes.want(&tree, own_network);
            }
            self.shrink();
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
            return Ok(Obtained { instance, tier: Tier::Paused, tree, waited: Duration::ZERO });
        }
        let known = self.environments.find(function).await?;
        let key = known.as_ref().map(|tree| tree.key.clone());
        let key = key.or_else(|| self.environments.known_key(function));
        let key = key.map(|tree| zygote::Key { tree, own_network: function.own_network() });
        if let Some(key) = key
            && let Some(zygote) = self.zygotes.ready(&key)
        {
            let tree = zygote.tree().clone();
            match self.start(function, Born::Forked(zygote.clone())).await {
                Ok(instance) => {
                    let (tier, waited) = (Tier::Zygote, Duration::ZERO);
                    return Ok(Obtained { instance, tier, tree, waited });
                }
                Err(error) => {
                    tracing::warn!(%error, function = function.info.name, "forking a zygote");
                    self.zygotes.discard(&key, &zygote);
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
        let instance = self.start(function, Born::Fresh(tree.clone())).await?;
        Ok(Obtained { instance, tier, tree, waited })
    }

    async fn start(&self, function: &Arc<Function>, born: Born) -> Result<Instance, Fault> {
        Instance::start(&self.sandboxes, function.clone(), &born, &self.runtime)
            .await
            .map_err(internal)
    }

    fn resume(&self, function: &Arc<Function>) -> Option<(Instance, Arc<Tree>)> {
        let key = self.environments.known_key(function);
        loop {
            let paused = lock(&self.paused).take(&function.info.name)?;
            let is_current = paused.instance().function().info.version == function.info.version
                && key.as_ref() == Some(&paused.tree().key);
            if !is_current || !paused.instance().is_alive() {
                continue;
            }
            match paused.resume() {
                Ok(resumed) => return Some(resumed),
                Err(error) => tracing::warn!(%error, "resuming a paused sandbox"),
            }
        }
    }

    fn keep(&self, instance: Instance, tree: &Arc<Tree>) {
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

    /// Drops what was not used for longest until the memory budget is kept: paused sandboxes
    /// first, because a zygote serves every function of its environment.
    fn shrink(&self) {
        let zygotes = self.zygotes.bytes();
        while lock(&self.paused).bytes() + zygotes > self.settings.memory {
            if lock(&self.paused).take_oldest().is_none() {
                break;
            }
        }
        if zygotes > self.settings.memory {
            self.zygotes.evict_oldest();
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
            let chosen = function.as_ref().map(|function| self.environments.known_key(function));
            zygotes = self
                .zygotes
                .evict(|key| chosen.as_ref().is_none_or(|chosen| chosen.as_deref() == Some(key)));
        }
        Ok(format!("evicted {paused} paused sandboxes and {zygotes} zygotes"))
    }

    /// Drops everything that is kept, ahead of the end.
    pub fn clear(&self) {
        lock(&self.paused).take_all(|_, _| true);
        self.zygotes.evict(|_| true);
    }

    /// Counts a request until what this returns is dropped.
    pub fn begin_request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(self.clone())
    }

    /// How many requests have been read and not been answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    fn note_running(&self, number: u64, instance: &Instance) -> Noted {
        lock(&self.running).insert(number, status::info(instance, SandboxState::Running));
        Noted { running: self.running.clone(), number }
    }
}

/// An invocation in the list of those that run; leaves it when dropped.
struct Noted {
    running: Arc<Mutex<BTreeMap<u64, SandboxInfo>>>,
    number: u64,
}

impl Drop for Noted {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.number);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
