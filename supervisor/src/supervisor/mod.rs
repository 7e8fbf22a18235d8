//! The supervisor itself: what it keeps, and the path of an invocation through it.

mod asked;
mod attempts;
mod care;
mod invoke;
mod later;
mod memory;
mod paused;
mod prepare;
mod start;
mod status;
mod turn;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use pipsqueak::settings::{Eviction, Settings};
use pipsqueak::wire::{Deploy, Evict, Explanation, Fault, FaultKind, FunctionInfo, Tier};
use pipsqueak_policy::eviction::{Allowance, Policy};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::admission::{Gate, InFlight, Traffic};
use crate::containers::Containers;
use crate::deployment::Functions;
use crate::ending::{Ender, Ending};
use crate::environment::Environments;
use crate::events::Events;
use crate::fault::internal;
use crate::logs::Journal;
use crate::mount::Keeper;
use crate::request_id::RequestIds;
use crate::sandbox::Sandboxes;
use crate::sync::Mutex;
use crate::turns::Turns;
use crate::upgrade::{self, UpgradeError};
use crate::zygote::{Budget, Pool};
pub use asked::Asked;
pub use invoke::Kept;
pub use later::{carry_out, follow_schedules};
pub use memory::follow_memory;
use paused::PausedTier;
use prepare::Makings;
use turn::{Running, Serving};

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
    makings: Makings,
    /// Deployments and removals of each function: all that a removed one has left, such as its events,
    /// is gone before another of the name is there.
    changes: Turns,
    /// Where what nobody waits for is done.
    background: Handle,
    ender: Ender,
}

impl Supervisor {
    /// Puts a supervisor together. `runtime` is the folder of the Python runtime; `ender` is told
    /// when a client asks for the end; what nobody waits for is done in the `background`.
    pub fn new(
        settings: Settings,
        parts: (Arc<Environments>, Arc<Containers>, Functions, Arc<Sandboxes>, Arc<Keeper>),
        (journal, events): (Arc<Journal>, Events),
        runtime: PathBuf,
        (ender, background): (Ender, Handle),
    ) -> Self {
        let (environments, containers, functions, sandboxes, keeper) = parts;
        let traffic = Arc::<Traffic>::default();
        let allowance = Arc::new(Allowance::new(settings.memory));
        let paused = PausedTier::new(policy(settings.eviction), settings.linger);
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
            makings: Makings::new(),
            changes: Turns::default(),
            background,
            ender,
        }
    }

    /// Drops what is worth least until what may be kept is: paused sandboxes first, because a spare
    /// serves every function of its zygote, and a zygote makes spares.
    fn shrink(&self) {
        let allowed = self.allowance.now();
        if self.paused.bytes() + self.zygotes.bytes() > allowed {
            self.zygotes.evict_standbys();
        }
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
        let _turn = self.changes.take(&deploy.name).await;
        let supervisor = self.clone();
        let deployed = tokio::task::spawn_blocking(move || supervisor.functions.deploy(deploy));
        let function = deployed.await.map_err(internal)??;
        self.paused.evict(Some(&function.info.name));
        self.events.reschedule();
        Ok(function.shown())
    }

    /// Removes a function and its paused sandboxes.
    pub async fn remove_function(self: &Arc<Self>, name: &str) -> Result<(), Fault> {
        let _turn = self.changes.take(name).await;
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

    /// Ends what requests wait for and what may take long, ahead of the end.
    pub fn hurry(&self) {
        self.makings.give_up();
    }

    /// Counts a request until what this returns is dropped.
    pub fn begin_request(&self) -> InFlight {
        self.traffic.begin()
    }

    /// Ends the supervisor.
    pub fn end(&self, ending: Ending) {
        self.ender.end(ending);
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
        let mut explanation = self.zygotes.explain(&function, &tree);
        explanation.standbys = self.zygotes.standbys_for(&function, &tree) as u64;
        let unlike = function.trust.reason().map(|reason| {
            format!(
                "it loads in an interpreter of its own, and did not in a zygote's child: {reason}"
            )
        });
        let own_file = function.variables.of_own_files().map(|name| {
            format!("variable {name} may name files of the function, which no zygote has")
        });
        if let Some(reason) = unlike.or(own_file) {
            explanation.zygotes.iter_mut().for_each(|one| one.serves = false);
            explanation.unlike = Some(reason);
        }
        Ok(explanation)
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

fn policy(of: Eviction) -> Policy {
    match of {
        Eviction::Lru => Policy::Lru,
        Eviction::GreedyDual => Policy::greedy_dual(),
    }
}
