//! The preparation of an invocation before it has a place: its environment is made if there is none yet.
//!
//! Making waits for package indexes, so it takes no place meanwhile, and invocations whose environments
//! are there do not wait for others.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pipsqueak::wire::{Fault, Progress};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Invocations;
use super::asked::{Asked, bounds, refused};
use super::attempts::{Attempt, Attempts};
use crate::admission::{Refused, seconds};
use crate::deployment::Function;
use crate::environment::{Audience, Tree};
use crate::fault::internal;

/// Time for which an attempt counts as one that keeps a processor busy. A longer attempt most likely
/// waits for an index.
const BUSY: Duration = Duration::from_secs(10);
/// Most attempts at once for each processor. An attempt that waits for an index needs memory too.
const MOST_OF_PROCESSOR: usize = 16;
/// Time for which an attempt without waiters goes on. A client that tries again finds it further than before.
const GRACE: Duration = Duration::from_secs(60);

/// Environments that are being made for invocations.
#[derive(Debug)]
pub(super) struct Makings {
    attempts: Attempts<Result<Made, Fault>>,
    /// Permits for as many attempts as there are processors. With more at once, all would end later.
    busy: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

/// An environment that was made.
#[derive(Debug, Clone)]
struct Made {
    tree: Arc<Tree>,
    /// Permit of an environment that only one start uses: it counts until the invocation drops it.
    _held: Option<Arc<OwnedSemaphorePermit>>,
}

/// Result of the preparation of an invocation.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Function for which an environment was made.
    function: Option<Arc<Function>>,
    /// Environment of this invocation only; absent if functions share environments.
    made: Option<Made>,
    /// Part of the wait during which the environment was being made.
    pub took: Duration,
}

impl Prepared {
    /// True if an environment was made for this version of a function.
    pub fn is_for(&self, function: &Arc<Function>) -> bool {
        self.function.as_ref().is_some_and(|one| Arc::ptr_eq(one, function))
    }

    /// The invocation's own environment, if it has one.
    pub fn tree(&self, function: &Arc<Function>) -> Option<Arc<Tree>> {
        let made = self.made.as_ref().filter(|_| self.is_for(function))?;
        Some(made.tree.clone())
    }

    /// Time of making that each next start takes as well.
    pub fn again(&self) -> Duration {
        if self.made.is_some() { self.took } else { Duration::ZERO }
    }
}

impl Makings {
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            attempts: Attempts::default(),
            busy: Arc::new(Semaphore::new(processors)),
            all: Arc::new(Semaphore::new(MOST_OF_PROCESSOR * processors)),
        }
    }

    /// Gives all attempts up.
    pub fn give_up(&self) {
        self.attempts.give_up();
    }
}

impl Invocations {
    /// Number of waiting invocations by function: for a turn, or for an environment.
    pub fn waiting(&self) -> BTreeMap<String, u64> {
        let mut waiting = self.gate.waiting();
        for (function, count) in self.makings.attempts.waiting() {
            *waiting.entry(function).or_default() += count;
        }
        waiting
    }

    /// Makes a function's environment, if it is absent, as long as the client waits. `before` is the
    /// time of earlier preparations, which are of no use any more.
    pub(super) async fn prepare(
        &self,
        function: &Arc<Function>,
        asked: &Asked<'_>,
        before: Duration,
        progress: &UnboundedSender<Progress>,
    ) -> Result<Prepared, Fault> {
        let name = &function.info.name;
        let late = async {
            let Some(deadline) = asked.deadline else { return std::future::pending().await };
            tokio::time::sleep(deadline.saturating_sub(asked.arrived.elapsed())).await;
            deadline
        };
        tokio::select! {
            biased;
            prepared = self.find_or_make(function, &asked.request_id, progress) => {
                let prepared = prepared?;
                Ok(Prepared { took: before + prepared.took, ..prepared })
            }
            () = asked.gone.notified() => Err(refused(name, &Refused::Gone)),
            deadline = late => Err(refused(name, &format!(
                "its environment was not there within {}; try again later, or raise `--deadline`",
                seconds(deadline),
            ))),
        }
    }

    async fn find_or_make(
        &self,
        function: &Arc<Function>,
        request_id: &str,
        progress: &UnboundedSender<Progress>,
    ) -> Result<Prepared, Fault> {
        if self.environments.find(function).await?.is_some() {
            return Ok(Prepared::default());
        }
        let name = &function.info.name;
        let shared = self.environments.shared_name(function);
        // As many as may have a place, and a queue of waiting ones.
        let bounds = bounds(function);
        let slots =
            bounds.sandboxes.min(self.settings.sandboxes).saturating_mul(bounds.concurrency);
        let most = u64::from(self.settings.queue) + u64::from(slots);
        let attempts = &self.makings.attempts;
        let joined = attempts.join(shared.unwrap_or(request_id), name, most, progress);
        let (mut waiter, attempt) = joined.map_err(|full| {
            refused(name, &Refused::Full { function: name.clone(), waiting: full.0 })
        })?;
        if let Some(attempt) = attempt {
            self.attempt(attempt, function, shared.is_some());
        }
        let outcome = waiter.outcome().await;
        let (made, took) = outcome.ok_or_else(|| internal("making an environment was cut off"))?;
        let made = made?;
        let made = shared.is_none().then_some(made);
        Ok(Prepared { function: Some(function.clone()), made, took })
    }

    /// Starts a task that makes an environment.
    fn attempt(
        &self,
        attempt: Attempt<Result<Made, Fault>>,
        function: &Arc<Function>,
        is_shared: bool,
    ) {
        let (busy, all) = (self.makings.busy.clone(), self.makings.all.clone());
        let turn = async {
            // The semaphores are never closed.
            let all = all.acquire_owned().await.ok();
            (all, busy.acquire_owned().await.ok())
        };
        let (environments, function) = (self.environments.clone(), function.clone());
        let work = async move |(all, busy): (Option<OwnedSemaphorePermit>, _),
                               audience: Arc<Audience>| {
            let mut making = pin!(environments.make(&function, audience));
            let made = if let Ok(made) = tokio::time::timeout(BUSY, &mut making).await {
                made
            } else {
                drop(busy);
                making.await
            };
            let held = all.filter(|_| !is_shared).map(Arc::new);
            Ok(Made { tree: made?, _held: held })
        };
        // An environment for one start is of no use to a client that tries again.
        let grace = if is_shared { GRACE } else { Duration::ZERO };
        self.background.spawn(attempt.run(grace, turn, work));
    }
}
