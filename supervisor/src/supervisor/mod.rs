//! The supervisor itself: what it keeps, and the path of an invocation through it.

mod care;
mod later;
mod memory;
mod paused;
mod status;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pipsqueak::settings::Settings;
use pipsqueak::wire::{
    DEFAULT_PAYLOAD, Deploy, Evict, Explanation, Fault, FaultKind, FunctionInfo, Invocation,
    Progress, SandboxInfo, SandboxState, Tier,
};
use serde_json::value::RawValue;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, Semaphore, watch};

pub use later::{carry_out, follow_schedules};

use crate::containers::Containers;
use crate::dispatch::{After, Bounds, Gate, InFlight, Traffic, Turn, Vacated};
use crate::ending::{Ender, Ending};
use crate::environment::{Environments, Tree};
use crate::events::Events;
use crate::eviction::{Allowance, Policy};
use crate::fault::internal;
use crate::function::{Function, Functions, Instance, StartError, furnish};
use crate::logs::{Journal, Report};
use crate::mount::Keeper;
use crate::request_id::RequestIds;
use crate::sandbox::{Sandbox, Sandboxes};
use crate::upgrade::{self, UpgradeError};
use crate::zygote::{self, Budget, Claimed, Pool, Spare, SpareError, Zygote};
pub use memory::follow_memory;
use paused::{Before, PausedTier, Place};

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
    /// What functions print.
    pub journal: Arc<Journal>,
    /// What they are given later.
    pub events: Events,
    /// Numbers of requests.
    pub request_ids: RequestIds,
    runtime: PathBuf,
    paused: Arc<PausedTier>,
    allowance: Arc<Allowance>,
    running: Running,
    gate: Gate<Serving>,
    starts: Mutex<BTreeMap<Tier, u64>>,
    traffic: Arc<Traffic>,
    /// As many environments are made for waiting requests at once as there are processors: more at
    /// once would all be done later.
    makings: Semaphore,
    ender: Ender,
}

/// What a client has said of an invocation besides its event.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The request's number.
    pub request_id: String,
    /// When it was read.
    pub arrived: Instant,
    /// How long it may wait for its turn; as long as it may run where this is absent.
    pub deadline: Option<Duration>,
    /// Told when the client has gone away.
    pub gone: &'a Notify,
}

/// What is left of an invocation when its reply is sent.
#[derive(Debug)]
pub struct Kept {
    function: Arc<Function>,
    /// Where the instance is kept, if it is.
    place: Option<Place>,
    /// Whether it could serve another.
    is_fit: bool,
    tier: Tier,
    tree: Arc<Tree>,
    zygote: Option<(u64, Arc<Zygote>)>,
    imported: Vec<String>,
}

/// What serves in a place.
#[derive(Debug)]
struct Serving {
    instance: Arc<Instance>,
    tree: Arc<Tree>,
}

/// Sandboxes that serve, by their numbers, and how many invocations each.
type Running = Arc<Mutex<BTreeMap<u64, (SandboxInfo, u32)>>>;

/// An instance that is ready to be asked, the tier that its start found, and its environment.
struct Obtained {
    instance: Arc<Instance>,
    tier: Tier,
    tree: Arc<Tree>,
    /// What it was forked from, and its number.
    zygote: Option<(u64, Arc<Zygote>)>,
    /// How long it had to wait for its turn to make its environment.
    waited: Duration,
    /// When what a next start takes as well has begun.
    began: Instant,
    /// How it had been kept, where it was.
    before: Option<Before>,
}

impl Obtained {
    /// One that serves on, and was not kept meanwhile.
    fn running(instance: Arc<Instance>, tree: Arc<Tree>) -> Self {
        let (tier, waited, before) = (Tier::Paused, Duration::ZERO, Some(Before::RUNNING));
        Self { instance, tier, tree, zygote: None, waited, began: Instant::now(), before }
    }
}

impl Supervisor {
    /// Puts a supervisor together. `runtime` is the folder of the Python runtime; `ender` is told
    /// when a client asks for the end.
    pub fn new(
        settings: Settings,
        parts: (Arc<Environments>, Arc<Containers>, Functions, Arc<Sandboxes>, Arc<Keeper>),
        (journal, events): (Arc<Journal>, Events),
        runtime: PathBuf,
        ender: Ender,
    ) -> Self {
        let (environments, containers, functions, sandboxes, keeper) = parts;
        let traffic = Arc::<Traffic>::default();
        let allowance = Arc::new(Allowance::new(settings.memory));
        let paused = PausedTier::new(Policy::new(settings.eviction), settings.linger);
        let budget = Budget { memory: allowance.clone(), spares: settings.spares };
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
            journal,
            events,
            request_ids: RequestIds::new(),
            runtime,
            paused: Arc::new(paused),
            allowance,
            running: Arc::default(),
            gate,
            starts: Mutex::default(),
            traffic,
            makings: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            ender,
        }
    }

    /// Runs a function once: queue, start, handler. What is left to be done for its instance
    /// comes back in [`Kept`], to be given to [`Self::after`] when the reply has been sent.
    pub async fn invoke(
        &self,
        name: &str,
        payload: &RawValue,
        asked: &Asked<'_>,
        progress: &UnboundedSender<Progress>,
    ) -> Result<(Invocation, Kept), Fault> {
        let (arrived, request_id) = (asked.arrived, asked.request_id.clone());
        // Before there is anything to wait for: one that is removed meanwhile gets no new one.
        self.functions.get(name)?;
        let log = self.journal.of(name);
        let (function, turn) = self.admit(name, payload, asked).await?;
        let began = Instant::now();
        let obtained = self.serve(&turn, &function, progress).await?;
        let queue_us = micros(began - arrived + obtained.waited);
        let noted = self.note_running(&obtained.instance);
        obtained.instance.share_processors(turn.sharers()).map_err(internal)?;
        let recording = self.journal.record(&log, function.info.version, &request_id);
        let answered = obtained.instance.invoke(&request_id, payload, recording).await;
        let answered = answered.map_err(internal)?;
        drop(noted);
        *lock(&self.starts).entry(obtained.tier).or_default() += 1;
        let total_us = micros(arrived.elapsed());
        let (result, error) = match answered.result {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        if let Some(recording) = answered.recording {
            recording.end(Report {
                outcome: answered.outcome,
                error: error.clone(),
                tier: obtained.tier,
                run_us: answered.run_us,
                memory: function.info.memory,
            });
        }
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
        let Obtained { tier, tree, zygote, began, before, .. } = obtained;
        let ran = Duration::from_micros(answered.run_us);
        let start = (tier != Tier::Paused).then(|| began.elapsed().saturating_sub(ran));
        if self.settings.tiers.zygote && tier != Tier::Paused {
            // Ahead of the reply: who has it can see that there is more to come.
            self.zygotes.announce();
        }
        let instance = obtained.instance;
        let imported = if tier == Tier::Paused { Vec::new() } else { instance.take_imported() };
        let is_fit = instance.is_fit();
        drop(instance);
        // Ahead of the reply: whoever has it finds the instance.
        let mut place = None;
        let vacated = turn.end(ran);
        if let Some(Serving { instance, tree }) = vacated.as_ref().and_then(Vacated::take)
            && self.keeps(&instance)
        {
            place = Some(self.paused.keep(instance.pause(tree), start, before));
        }
        let kept = Kept { function, place, is_fit, tier, tree, zygote, imported };
        Ok((invocation, kept))
    }

    /// Waits until a function may run; the function as it is then.
    async fn admit(
        &self,
        name: &str,
        payload: &RawValue,
        asked: &Asked<'_>,
    ) -> Result<(Arc<Function>, Turn<Serving>), Fault> {
        let info = &self.functions.get(name)?.info;
        let refused = |reason: String| Fault {
            kind: FaultKind::Refused,
            message: format!("an invocation of {name} is refused: {reason}"),
        };
        let (length, most) =
            (payload.get().len() as u64, info.payload_in.unwrap_or(DEFAULT_PAYLOAD));
        if length > most {
            return Err(refused(format!("its event has {length} bytes, of {most} at most")));
        }
        let bounds = Bounds { sandboxes: info.sandboxes, concurrency: info.concurrency };
        let patience = asked.deadline.unwrap_or(Duration::from_millis(info.timeout_ms));
        let gone = asked.gone.notified();
        let turn = self.gate.enter(name, bounds, patience, gone).await;
        let turn = turn.map_err(|error| refused(error.to_string()))?;
        // What was deployed meanwhile is what runs.
        Ok((self.functions.get(name)?, turn))
    }

    /// What serves in the place of a turn; started, or resumed, where nothing does.
    async fn serve(
        &self,
        turn: &Turn<Serving>,
        function: &Arc<Function>,
        progress: &UnboundedSender<Progress>,
    ) -> Result<Obtained, Fault> {
        let mut serving = turn.place().serving().lock().await;
        // Only a sandbox that serves several at once is there for more than one where none is kept.
        let may_stay = self.settings.tiers.paused || function.info.concurrency > 1;
        if let Some(Serving { instance, tree }) = &*serving
            && may_stay
            && self.is_current(function, instance, tree)
        {
            let (instance, tree) = (instance.clone(), tree.clone());
            return Ok(Obtained::running(instance, tree));
        }
        *serving = None;
        let obtained = self.obtain(function, progress).await?;
        let (instance, tree) = (obtained.instance.clone(), obtained.tree.clone());
        *serving = Some(Serving { instance, tree });
        Ok(obtained)
    }

    /// Whether an instance is one of a function as it is now, in the environment that it has now, and
    /// can serve.
    fn is_current(&self, function: &Arc<Function>, instance: &Instance, tree: &Tree) -> bool {
        Arc::ptr_eq(instance.function(), function)
            && self.environments.known_key(function).as_ref() == Some(&tree.key)
            && instance.is_fit()
            && instance.is_alive()
    }

    /// What follows a reply: the instance is frozen, its environment gets a zygote, and that
    /// another spare.
    pub fn after(&self, after: After) {
        if let Some(kept) = after.kept {
            let Kept { function, place, is_fit, tier, tree, zygote, imported } = kept;
            if self.settings.tiers.zygote && tier != Tier::Paused {
                // What a start that has failed has not imported tells nothing.
                let told = is_fit.then_some(imported);
                let had = zygote.as_ref().map(|(id, _)| *id);
                let (zygotes, tree) = (self.zygotes.clone(), tree.clone());
                tokio::spawn(async move { zygotes.learn(&function, &tree, told, had).await });
            }
            if let Some(place) = place {
                self.paused.settle(place);
            }
            if let Some((_, zygote)) = zygote {
                self.zygotes.refill(&zygote);
            }
            if tier != Tier::Paused {
                // What grows while it is used again is looked at from time to time.
                self.shrink();
            }
        }
        if let Some(ending) = after.ending {
            self.ender.end(ending);
        }
    }

    /// The best start that there is for a function.
    async fn obtain(
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
        let furnish = |sandbox: &Sandbox| furnish(&self.sandboxes, sandbox.door(), function, wider);
        match self.zygotes.claim(zygote).await {
            Err(error) => Ok(Err(error)),
            Ok(Claimed::Spare(spare)) => {
                furnish(&spare.sandbox).await?;
                Ok(Ok(*spare))
            }
            Ok(Claimed::Sandbox(sandbox)) => {
                let furnished = furnish(&sandbox);
                let (forked, furnished) = tokio::join!(Spare::fork(zygote, *sandbox), furnished);
                furnished.map(|()| forked)
            }
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

    /// Whether an instance is to be kept: another version may have been deployed meanwhile.
    fn keeps(&self, instance: &Instance) -> bool {
        let now = self.functions.get(&instance.function().info.name);
        self.settings.tiers.paused
            && instance.is_fit()
            && now.is_ok_and(|now| Arc::ptr_eq(&now, instance.function()))
    }

    /// Drops what is worth least until what may be kept is: paused sandboxes first, because a spare
    /// serves every function of its zygote, and a zygote makes spares.
    fn shrink(&self) {
        let allowed = self.allowance.now();
        let mut zygotes = self.zygotes.bytes();
        self.paused.shrink(allowed.saturating_sub(zygotes));
        if zygotes > allowed {
            self.zygotes.evict_spares();
            zygotes = self.zygotes.bytes();
        }
        if zygotes > allowed {
            self.zygotes.shrink();
        }
    }

    /// Deploys a function and drops the paused sandboxes of its earlier version.
    pub async fn deploy(self: &Arc<Self>, deploy: Deploy) -> Result<FunctionInfo, Fault> {
        let supervisor = self.clone();
        let deployed = tokio::task::spawn_blocking(move || supervisor.functions.deploy(deploy));
        let function = deployed.await.map_err(internal)??;
        self.paused.evict(Some(&function.info.name));
        self.events.reschedule();
        Ok(function.shown())
    }

    /// Removes a function and its paused sandboxes.
    pub async fn remove_function(self: &Arc<Self>, name: &str) -> Result<(), Fault> {
        let supervisor = self.clone();
        let owned = name.to_owned();
        let removed = tokio::task::spawn_blocking(move || supervisor.functions.remove(&owned));
        removed.await.map_err(internal)??;
        self.zygotes.forget(name);
        self.gate.forget(name);
        self.paused.forget(name);
        self.events.reschedule();
        self.events.forget(name.to_owned()).await?;
        self.journal.remove(name).await.map_err(internal)
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
            paused = self.paused.evict(function.as_ref().map(|one| one.info.name.as_str()));
        }
        let mut zygotes = 0;
        if evict.zygotes || both {
            zygotes = self.zygotes.evict(function.as_ref().map(|one| one.info.name.as_str()));
        }
        Ok(format!("evicted {paused} paused sandboxes and {zygotes} zygotes"))
    }

    /// Drops everything that is kept, ahead of the end.
    pub fn clear(&self) {
        self.paused.evict(None);
        self.zygotes.evict(None);
    }

    /// Counts a request until what this returns is dropped.
    pub fn begin_request(&self) -> InFlight {
        self.traffic.begin()
    }

    /// Says when the supervisor is to stop.
    pub fn ending(&self) -> watch::Receiver<Option<Ending>> {
        self.ender.heard()
    }

    /// How many requests have been read and not been answered.
    pub fn in_flight(&self) -> usize {
        self.traffic.count()
    }

    /// Checks that the program which is installed now can take this one's place.
    pub async fn check_successor(&self) -> Result<(), Fault> {
        let refused =
            |error: UpgradeError| Fault { kind: FaultKind::BadInput, message: error.to_string() };
        if self.keeper.can_leave() {
            return Err(refused(UpgradeError::Service));
        }
        let program = upgrade::program().map_err(internal)?;
        let checked = tokio::task::spawn_blocking(move || upgrade::check(&program));
        checked.await.map_err(internal)?.map_err(refused)
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

    fn note_running(&self, instance: &Instance) -> Noted {
        let mut running = lock(&self.running);
        let sandbox = instance.sandbox().id();
        let inside = running.get(&sandbox).map_or(0, |(_, inside)| *inside);
        running.insert(sandbox, (status::info(instance, SandboxState::Running), inside + 1));
        Noted { running: self.running.clone(), sandbox }
    }
}

/// An invocation in the list of those that run; leaves it when dropped.
struct Noted {
    running: Running,
    sandbox: u64,
}

impl Drop for Noted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut running) = lock(&self.running).entry(self.sandbox) {
            running.get_mut().1 -= 1;
            if running.get().1 == 0 {
                running.remove();
            }
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
