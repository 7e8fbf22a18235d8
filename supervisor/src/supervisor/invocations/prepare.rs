//! What an invocation needs before it has a place: its environment, made where there is none yet.
//!
//! Making waits for package indexes, so nobody is in a place meanwhile, and those whose environments
//! are there do not wait for those whose are not.

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

/// How long one counts among those that keep the processors busy. One that takes longer waits for
/// an index, most likely.
const BUSY: Duration = Duration::from_secs(10);
/// Most at once, for each processor: who waits for an index has memory all the same.
const MOST_OF_PROCESSOR: usize = 16;
/// How long an attempt goes on that nobody waits for. Clients that try again find it further.
const GRACE: Duration = Duration::from_secs(60);

/// Environments that are being made for invocations.
#[derive(Debug)]
pub(super) struct Makings {
    attempts: Attempts<Result<Made, Fault>>,
    /// As many are begun at once as there are processors: more at once would all be done later.
    busy: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

/// An environment that was made.
#[derive(Debug, Clone)]
struct Made {
    tree: Arc<Tree>,
    /// An environment that is nobody else's counts until something runs in it.
    _held: Option<Arc<OwnedSemaphorePermit>>,
}

/// What is ready for an invocation.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Whose environment was made for it.
    function: Option<Arc<Function>>,
    /// Its own environment, where functions share none.
    made: Option<Made>,
    /// How long the making took of which it has waited.
    pub took: Duration,
}

impl Prepared {
    /// True if an environment was made for this version of a function.
    pub fn is_for(&self, function: &Arc<Function>) -> bool {
        self.function.as_ref().is_some_and(|one| Arc::ptr_eq(one, function))
    }

    /// Its own environment, where it has one.
    pub fn tree(&self, function: &Arc<Function>) -> Option<Arc<Tree>> {
        let made = self.made.as_ref().filter(|_| self.is_for(function))?;
        Some(made.tree.clone())
    }

    /// How long making took of what a next start takes as well.
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

    /// Ends all.
    pub fn give_up(&self) {
        self.attempts.give_up();
    }
}

impl Invocations {
    /// How many wait for each function: for a turn, or for its environment.
    pub fn waiting(&self) -> BTreeMap<String, u64> {
        let mut waiting = self.gate.waiting();
        for (function, count) in self.makings.attempts.waiting() {
            *waiting.entry(function).or_default() += count;
        }
        waiting
    }

    /// Sees to it that a function's environment is there, as long as the client waits. `before` is what
    /// was prepared already, and is no use any more.
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
        // As many as may be in places and wait for one.
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

    /// Has an environment made in a task.
    fn attempt(
        &self,
        attempt: Attempt<Result<Made, Fault>>,
        function: &Arc<Function>,
        is_shared: bool,
    ) {
        let (busy, all) = (self.makings.busy.clone(), self.makings.all.clone());
        let turn = async {
            // Nobody closes them.
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
        // One that is nobody else's is no use to who comes again.
        let grace = if is_shared { GRACE } else { Duration::ZERO };
        self.background.spawn(attempt.run(grace, turn, work));
    }
}
