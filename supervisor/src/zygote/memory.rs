//! Knowledge that outlives the supervisor: it is stored in the catalog, by names and digests.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pipsqueak_policy::zygotes::{Cost, ModuleId, Modules};
use serde::{Deserialize, Serialize};

use super::imports::Unsafe;
use super::pool::{Inner, Pool};
use super::remembered::Remembered;
use crate::deployment::Function;
use crate::environment::{Environments, EnvironmentsError};

/// Name of the entry in the catalog.
const NAME: &str = "zygotes";
/// Pause between saves of new knowledge.
const PACE: Duration = Duration::from_secs(60);

/// The stored knowledge.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    /// Time of the save, in seconds since 1970.
    at: u64,
    modules: Vec<Module>,
    functions: BTreeMap<String, Remembered<usize>>,
    unsafe_modules: BTreeMap<String, Unsafe>,
}

/// A module, and the cost of its import, if measured.
#[derive(Debug, Serialize, Deserialize)]
struct Module {
    /// Digest of the module's distribution.
    distribution: String,
    name: String,
    /// Microseconds and bytes.
    cost: Option<(f64, f64)>,
}

impl Pool {
    /// Loads the knowledge of the last run, and starts the zygotes that its functions need. Then saves new
    /// knowledge until the pool is gone.
    pub async fn recall(self: &Arc<Self>, functions: Vec<Arc<Function>>) {
        match self.environments.recall(NAME.to_owned()).await {
            Ok(text) => self.take_over(text.as_deref().unwrap_or("{}")),
            Err(error) => tracing::warn!(%error, "recalling what was learned"),
        }
        let mut are_known = false;
        for function in functions {
            match self.reintroduce(&function).await {
                Ok(is_known) => are_known |= is_known,
                Err(error) => {
                    tracing::warn!(%error, function = function.info.name, "recalling a function");
                }
            }
        }
        if are_known {
            self.news.wake();
        }
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PACE).await;
                let Some(pool) = pool.upgrade() else { return };
                pool.remember().await;
            }
        });
    }

    /// Saves the knowledge for the next run.
    pub async fn remember(&self) {
        let kept = match serde_json::to_string(&self.memory()) {
            Ok(text) => self.environments.remember(NAME.to_owned(), text).await,
            Err(error) => {
                tracing::warn!(%error, "keeping what was learned");
                return;
            }
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "keeping what was learned");
        }
    }

    fn take_over(&self, text: &str) {
        let memory: Memory = match serde_json::from_str(text) {
            Ok(memory) => memory,
            Err(error) => {
                tracing::warn!(%error, "what an earlier run has learned is unreadable");
                return;
            }
        };
        let inner = &mut *self.lock();
        let mut numbers = Vec::new();
        for Module { distribution, name, cost } in &memory.modules {
            let distribution = inner.policy.names.distribution(distribution);
            let module = inner.policy.names.module(Some(distribution), name);
            numbers.push(module);
            if let Some((us, bytes)) = *cost {
                inner.policy.costs.observe(module, Cost { us, bytes });
            }
        }
        for (digest, found) in &memory.unsafe_modules {
            let distribution = inner.policy.names.distribution(digest);
            for name in found.keys() {
                let module = inner.policy.names.module(Some(distribution), name);
                inner.policy.hazard(module, true);
            }
        }
        inner.unsafe_modules = memory.unsafe_modules;
        let passed = seconds().saturating_sub(memory.at);
        #[expect(clippy::cast_precision_loss, reason = "some years at most")]
        let left = (-(passed as f64) / inner.policy.parameters().half_life).exp2();
        let functions = memory.functions.into_iter().map(|(name, one)| {
            let Remembered { version, tree, rate, modules } = one;
            let modules = modules.iter().filter_map(|&place| numbers.get(place).copied());
            (name, Remembered { version, tree, rate: rate * left, modules: modules.collect() })
        });
        inner.recalled = functions.collect();
    }

    /// Informs the policy again of a function that had starts, if its environment is there. True if so.
    async fn reintroduce(&self, function: &Function) -> Result<bool, EnvironmentsError> {
        if !self.lock().recalled.contains_key(&function.info.name) {
            return Ok(false);
        }
        let Some(tree) = self.environments.find(function).await? else { return Ok(false) };
        self.environments.imports(&tree).await?;
        let now = self.now();
        self.lock().introduce(function, &tree, now);
        Ok(true)
    }

    fn memory(&self) -> Memory {
        let now = self.now();
        let inner = self.lock();
        let names = &inner.policy.names;
        let (mut modules, mut places) = (Vec::new(), HashMap::new());
        for number in names.all_modules() {
            let module = names.module_named(number);
            let Some(distribution) = module.distribution else { continue };
            let cost = inner.policy.costs.measured(number).map(|cost| (cost.us, cost.bytes));
            places.insert(number, modules.len());
            let distribution = names.digest(distribution).to_owned();
            modules.push(Module { distribution, name: module.name.clone(), cost });
        }
        let place = |module: &ModuleId| places.get(module).copied();
        let learned = inner.known.iter().filter(|(name, _)| inner.policy.has_learned(name));
        let functions = learned.filter_map(|(name, known)| {
            let imported = &inner.policy.function(name)?.modules;
            let remembered = Remembered {
                version: known.version,
                tree: known.tree.key.clone(),
                rate: inner.policy.rate(name, now),
                modules: imported.iter().filter_map(|one| place(&one)).collect(),
            };
            Some((name.clone(), remembered))
        });
        let waiting = inner.recalled.iter().map(|(name, one)| {
            let Remembered { version, tree, rate, modules } = one.clone();
            let modules = modules.iter().filter_map(place).collect();
            (name.clone(), Remembered { version, tree, rate, modules })
        });
        Memory {
            at: seconds(),
            functions: waiting.chain(functions).collect(),
            modules,
            unsafe_modules: inner.unsafe_modules.clone(),
        }
    }
}

impl Inner {
    /// The knowledge of the last run about a function, if its version and environment are the same. Each is
    /// returned once.
    pub fn take_recalled(
        &mut self,
        name: &str,
        version: u64,
        tree: &str,
    ) -> Option<(Modules, f64)> {
        let remembered = self.recalled.remove(name)?;
        let is_same = remembered.version == version && remembered.tree == tree;
        is_same.then(|| (remembered.modules.into_iter().collect(), remembered.rate))
    }
}

impl Environments {
    async fn recall(&self, name: String) -> Result<Option<String>, EnvironmentsError> {
        self.in_repository(move |repository| repository.recall(&name)).await
    }

    async fn remember(&self, name: String, text: String) -> Result<(), EnvironmentsError> {
        self.in_repository(move |repository| repository.remember(&name, &text)).await
    }
}

fn seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |passed| passed.as_secs())
}
