//! Invocations: from a request to an answer, by the best start that is possible.

mod asked;
mod attempts;
mod invoke;
mod paused;
mod prepare;
mod start;
mod turn;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use pipsqueak::settings::{Eviction, Settings};
use pipsqueak::wire::Tier;
use pipsqueak_policy::eviction::{Allowance, Policy};
use tokio::runtime::Handle;

use super::resources::Resources;
use crate::admission::{Gate, Traffic};
use crate::deployment::Functions;
use crate::environment::Environments;
use crate::logs::Journal;
use crate::sandbox::Sandboxes;
use crate::sync::Mutex;
use crate::zygote::{Budget, Pool};
pub use asked::Asked;
pub use invoke::Kept;
use paused::PausedTier;
use prepare::Makings;
use turn::{Running, Serving};

/// The invocations of functions, and what is kept for the next start.
#[derive(Debug)]
pub struct Invocations {
    settings: Arc<Settings>,
    environments: Arc<Environments>,
    functions: Arc<Functions>,
    sandboxes: Arc<Sandboxes>,
    journal: Arc<Journal>,
    runtime: PathBuf,
    /// The zygotes.
    pub zygotes: Arc<Pool>,
    /// The paused sandboxes.
    pub(super) paused: Arc<PausedTier>,
    /// Memory that all kept things together may have.
    pub(super) allowance: Arc<Allowance>,
    /// The sandboxes that serve.
    pub(super) running: Running,
    /// Number of starts from each tier.
    pub(super) starts: Mutex<BTreeMap<Tier, u64>>,
    gate: Gate<Serving>,
    makings: Makings,
    background: Handle,
}

impl Invocations {
    /// Invocations of a supervisor in which nothing runs and nothing is kept.
    pub fn new(resources: &Resources, traffic: &Arc<Traffic>) -> Self {
        let Resources { settings, environments, sandboxes, runtime, .. } = resources;
        let allowance = Arc::new(Allowance::new(settings.memory));
        let paused = PausedTier::new(policy(settings.eviction), settings.linger);
        let budget = Budget { memory: allowance.clone(), spares: settings.spares };
        let parts = (sandboxes.clone(), environments.clone(), traffic.clone());
        let zygotes = Pool::new(parts, runtime.clone(), budget, settings.fork_safe.clone());
        Self {
            settings: settings.clone(),
            environments: environments.clone(),
            functions: resources.functions.clone(),
            sandboxes: sandboxes.clone(),
            journal: resources.journal.clone(),
            runtime: runtime.clone(),
            zygotes: Arc::new(zygotes),
            paused: Arc::new(paused),
            allowance,
            running: Arc::default(),
            starts: Mutex::default(),
            gate: Gate::new(settings.sandboxes, settings.queue),
            makings: Makings::new(),
            background: resources.background.clone(),
        }
    }

    /// Memory of all that is kept, in bytes.
    pub fn kept_bytes(&self) -> u64 {
        self.paused.bytes() + self.zygotes.bytes()
    }

    /// Drops all that is kept of a function that was removed.
    pub fn forget(&self, function: &str) {
        self.zygotes.forget(function);
        self.gate.forget(function);
        self.paused.forget(function);
    }

    /// Drops the least valuable things until the rest fits into the allowance: standbys, then paused
    /// sandboxes, then spares, then zygotes. A spare serves every function of its zygote, and a zygote
    /// makes spares.
    pub fn shrink(&self) {
        let allowed = self.allowance.now();
        if self.kept_bytes() > allowed {
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

    /// Drops everything that is kept, before the end.
    pub fn clear(&self) {
        self.paused.evict(None);
        self.zygotes.evict(None);
    }

    /// Gives up the environments that requests wait for, before the end.
    pub fn hurry(&self) {
        self.makings.give_up();
    }
}

fn policy(of: Eviction) -> Policy {
    match of {
        Eviction::Lru => Policy::Lru,
        Eviction::GreedyDual => Policy::greedy_dual(),
    }
}
