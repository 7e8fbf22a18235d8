//! An invocation's turn: the wait for it, and the instance that serves in its place.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use pipsqueak::wire::Fault;
use serde_json::value::RawValue;

use super::Invocations;
use super::asked::{Asked, bounds, check_length, refused};
use super::prepare::Prepared;
use super::start::Obtained;
use crate::admission::Turn;
use crate::deployment::Function;
use crate::environment::Tree;
use crate::instance::Instance;
use crate::sync::{Mutex, lock};

/// Instance that serves in a place, and its environment.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) instance: Arc<Instance>,
    pub(super) tree: Arc<Tree>,
}

/// Sandboxes that serve, by number, each with its number of invocations.
pub(super) type Running = Arc<Mutex<BTreeMap<u64, (Arc<Instance>, u32)>>>;

impl Invocations {
    /// Waits until a function may run, and returns the function as it is deployed then. `waited` is the
    /// time that the invocation has already waited for its environment.
    pub(super) async fn admit(
        &self,
        name: &str,
        payload: &RawValue,
        asked: &Asked<'_>,
        waited: Duration,
    ) -> Result<(Arc<Function>, Turn<Serving>), Fault> {
        let function = self.functions.get(name)?;
        let info = &function.info;
        check_length(&function, payload)?;
        let patience = match asked.deadline {
            Some(deadline) => deadline.saturating_sub(waited),
            None => Duration::from_millis(info.timeout_ms),
        };
        let gone = asked.gone.notified();
        let turn = self.gate.enter(name, bounds(&function), patience, gone).await;
        let turn = turn.map_err(|error| refused(name, &error))?;
        // A version that was deployed meanwhile is the one that runs.
        Ok((self.functions.get(name)?, turn))
    }

    /// The instance that serves in the place of a turn; started or resumed if there is none. `None` if
    /// the function's environment must be made first, because no place is held meanwhile.
    pub(super) async fn serve(
        &self,
        turn: &Turn<Serving>,
        function: &Arc<Function>,
        prepared: &Prepared,
        request: &str,
    ) -> Result<Option<Obtained>, Fault> {
        let mut serving = turn.place().serving().lock().await;
        // Without the paused tier a sandbox serves only one invocation, unless the function lets it
        // serve several at once.
        let may_stay = self.settings.tiers.paused || function.info.concurrency > 1;
        if let Some(Serving { instance, tree }) = &*serving
            && may_stay
            && self.is_current(function, instance, tree)
        {
            return Ok(Some(Obtained::running(instance.clone(), tree.clone())));
        }
        *serving = None;
        let Some(obtained) = self.obtain(function, prepared, request).await? else {
            return Ok(None);
        };
        let (instance, tree) = (obtained.instance.clone(), obtained.tree.clone());
        *serving = Some(Serving { instance, tree });
        Ok(Some(obtained))
    }

    /// True if an instance can serve, and belongs to the deployed version of a function, in its current
    /// environment.
    pub(super) fn is_current(
        &self,
        function: &Arc<Function>,
        instance: &Instance,
        tree: &Tree,
    ) -> bool {
        Arc::ptr_eq(instance.function(), function)
            && self.environments.known_key(function).as_ref() == Some(&tree.key)
            && instance.is_fit()
            && instance.is_alive()
    }

    /// Lists an instance among those that run, until the returned value is dropped.
    pub(super) fn note_running(&self, instance: &Arc<Instance>) -> Noted {
        let mut running = lock(&self.running);
        let sandbox = instance.sandbox().id();
        running.entry(sandbox).or_insert_with(|| (instance.clone(), 0)).1 += 1;
        Noted { running: self.running.clone(), sandbox }
    }
}

/// An invocation in the list of those that run. Dropping it takes the invocation off.
pub(super) struct Noted {
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
