//! The state of the policy between one decision and the next.

use std::collections::HashMap;
use std::sync::Arc;

use super::choose::{self, Verdict, Zygote, ZygoteId};
use super::costs::{Cost, Costs};
use super::demand::{Demand, Environment, Function, Imports, Rate};
use super::names::{ModuleId, Modules, Names, Realm};
use super::plan::{self, Plan};
use super::situation::{Parameters, Situation, Standing};

/// An import of a start.
#[derive(Debug, Clone, Copy)]
pub struct Imported {
    /// The module.
    pub module: ModuleId,
    /// The cost; `None` if a zygote had the module already, or if it was not measured.
    pub cost: Option<Cost>,
}

/// The known functions and modules, and the decisions that follow.
#[derive(Debug)]
pub struct Policy {
    /// Numbers of names.
    pub names: Names,
    /// Costs of modules.
    pub costs: Costs,
    pub(super) parameters: Parameters,
    pub(super) functions: HashMap<String, Known>,
    /// Modules, each with the modules that its import always imports.
    needs: HashMap<ModuleId, Modules>,
    /// Modules that do not survive a fork.
    hazards: Modules,
    /// Modules that a zygote could not import.
    dropped: Modules,
    failed: Vec<Failure>,
}

/// A zygote that has failed.
#[derive(Debug)]
struct Failure {
    realm: Realm,
    modules: Modules,
    /// Time of the next try, in seconds.
    until: f64,
    /// Length of the pause before that try, in seconds.
    pause: f64,
    /// Time of the last success, in seconds, if there was one.
    good: Option<f64>,
}

impl Failure {
    fn is_of(&self, realm: Realm, modules: &Modules) -> bool {
        self.realm == realm && self.modules == *modules
    }

    /// True if the zygote has been good for longer than its last pause.
    fn is_over(&self, now: f64) -> bool {
        self.good.is_some_and(|since| now - since > self.pause)
    }
}

/// Pause after a zygote's first failure, in seconds.
const PAUSE: f64 = 1.0;

#[derive(Debug)]
pub(super) struct Known {
    pub function: Function,
    pub rate: Rate,
    imports: Imports,
}

impl Policy {
    /// A policy that knows nothing.
    pub fn new(parameters: Parameters) -> Self {
        Self {
            names: Names::default(),
            costs: Costs::default(),
            parameters,
            functions: HashMap::new(),
            needs: HashMap::new(),
            hazards: Modules::new(),
            dropped: Modules::new(),
            failed: Vec::new(),
        }
    }

    /// The parameters that the policy weighs by.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Adds a function, or updates its code or environment. `guess` is the imports seen in its code,
    /// used until a start reports. The rate of its starts is kept.
    pub fn deploy(
        &mut self,
        name: &str,
        realm: Realm,
        environment: Arc<Environment>,
        guess: &Modules,
    ) {
        let rate = self.functions.get(name).map(|known| known.rate).unwrap_or_default();
        let modules = guess.difference(&self.dropped);
        let function = Function { realm, environment, modules };
        let known = Known { function, rate, imports: Imports::default() };
        self.functions.insert(name.to_owned(), known);
    }

    /// Moves a function to a realm.
    pub fn settle(&mut self, name: &str, realm: Realm) {
        if let Some(known) = self.functions.get_mut(name) {
            known.function.realm = realm;
        }
    }

    /// Forgets a function.
    pub fn remove(&mut self, name: &str) {
        self.functions.remove(name);
    }

    /// The known data of a function.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.get(name).map(|known| &known.function)
    }

    /// True if a start has reported the imports of a function.
    pub fn has_learned(&self, name: &str) -> bool {
        self.functions.get(name).is_some_and(|known| known.imports.has_learned())
    }

    /// Rate of a function's starts, a second.
    pub fn rate(&self, name: &str, now: f64) -> f64 {
        let known = self.functions.get(name);
        known.map_or(0.0, |known| known.rate.per_second(now, self.parameters.half_life))
    }

    /// Counts a start. `now` is in seconds since a fixed moment, such as the supervisor's start.
    pub fn started(&mut self, name: &str, now: f64) {
        if let Some(known) = self.functions.get_mut(name) {
            known.rate.count(now, self.parameters.half_life);
        }
    }

    /// Restores earlier knowledge of a function: its imports, and its starts a second.
    pub fn recall(&mut self, name: &str, modules: &Modules, per_second: f64, now: f64) {
        let half_life = self.parameters.half_life;
        if let Some(known) = self.functions.get_mut(name) {
            known.function.modules = known.imports.learn(modules);
            known.rate = Rate::of(per_second, now, half_life);
        }
    }

    /// Includes all imports of a function's start, also modules that its zygote had already.
    ///
    /// Returns true if one of them is a module that zygotes could not import. A zygote without it then
    /// differs from the function.
    pub fn learn(&mut self, name: &str, imported: &[Imported]) -> bool {
        for one in imported {
            if let Some(cost) = one.cost {
                self.costs.observe(one.module, cost);
            }
        }
        if let Some(known) = self.functions.get_mut(name) {
            let modules: Modules = imported.iter().map(|one| one.module).collect();
            known.function.modules = known.imports.learn(&modules);
            let works = modules.intersection(&self.dropped);
            self.dropped = self.dropped.difference(&works);
            self.hazards.extend_from(&works);
            return !works.is_empty();
        }
        false
    }

    /// Notes that importing a module imports another.
    pub fn needs(&mut self, module: ModuleId, needed: ModuleId) {
        self.needs.entry(module).or_default().insert(needed);
    }

    /// Notes if a module leaves state that does not survive a fork. No zygote then imports it, nor a
    /// module that needs it.
    pub fn hazard(&mut self, module: ModuleId, is_hazard: bool) {
        if is_hazard {
            self.hazards.insert(module);
        } else {
            self.hazards = self.hazards.iter().filter(|&other| other != module).collect();
        }
    }

    /// Notes that a zygote could not import modules, so that no zygote is asked to again. Modules that
    /// starts of functions have imported become hazards, so that modules that need them are left out
    /// too.
    pub fn fails(&mut self, modules: &Modules) {
        let told = self.functions.values().filter(|known| known.imports.has_learned());
        let mut works = Modules::new();
        for known in told {
            works.extend_from(&known.function.modules.intersection(modules));
        }
        self.hazards.extend_from(&works);
        let dropped = modules.difference(&works);
        for known in self.functions.values_mut() {
            known.function.modules = known.function.modules.difference(&dropped);
        }
        self.dropped.extend_from(&dropped);
    }

    /// Modules that no zygote is asked to import.
    pub fn barred(&self) -> Modules {
        let mut barred = self.unsafe_modules();
        barred.extend_from(&self.dropped);
        barred
    }

    /// Notes that a zygote with these modules could not be started, or that its children are of no use.
    /// Returns the seconds for which it is not planned again. The first pause is short, because the
    /// zygote may have been killed. Each further failure doubles it, up to a half-life, unless the
    /// zygote was good for longer in between.
    pub fn failed(&mut self, realm: Realm, modules: &Modules, now: f64) -> f64 {
        let longest = self.parameters.half_life;
        self.failed.retain(|one| one.until + longest > now && !one.is_over(now));
        let before = self.failed.iter().find(|one| one.is_of(realm, modules));
        let pause = before.map_or(PAUSE, |before| (2.0 * before.pause).min(longest));
        self.failed.retain(|one| !one.is_of(realm, modules));
        let (until, modules) = (now + pause, modules.clone());
        self.failed.push(Failure { realm, modules, until, pause, good: None });
        pause
    }

    /// Notes that a zygote with these modules has a child that is of use.
    pub fn succeeded(&mut self, realm: Realm, modules: &Modules, now: f64) {
        for one in self.failed.iter_mut().filter(|one| one.is_of(realm, modules)) {
            (one.until, one.good) = (one.until.min(now), Some(now));
        }
    }

    /// The zygote that serves a function, if any may.
    pub fn choose<'a>(
        &self,
        zygotes: impl IntoIterator<Item = &'a Zygote>,
        name: &str,
    ) -> Option<&'a Zygote> {
        choose::choose(zygotes, self.function(name)?, &self.costs)
    }

    /// The verdict on each zygote for a function.
    pub fn explain(&self, zygotes: &[Zygote], name: &str) -> Vec<(ZygoteId, Verdict)> {
        let function = self.function(name);
        function.map_or_else(Vec::new, |one| choose::explain(zygotes, one, &self.costs))
    }

    /// Plans the changes so that zygotes save most within a budget, in bytes.
    pub fn plan(&self, standing: &[Standing], budget: f64, now: f64) -> Plan {
        self.situation(standing, budget, now, plan::plan)
    }

    /// Zygotes to end so that the rest is within a budget, in bytes.
    pub fn shrink(&self, standing: &[Standing], budget: f64, now: f64) -> Vec<ZygoteId> {
        self.situation(standing, budget, now, plan::shrink)
    }

    fn situation<T>(
        &self,
        standing: &[Standing],
        budget: f64,
        now: f64,
        decide: impl FnOnce(&Situation<'_>) -> T,
    ) -> T {
        let half_life = self.parameters.half_life;
        let mut known: Vec<(&String, &Known)> = self.functions.iter().collect();
        known.sort_by_key(|(name, _)| *name);
        let demand: Vec<Demand<'_>> = known
            .iter()
            .map(|(_, one)| Demand {
                function: &one.function,
                rate: one.rate.per_second(now, half_life),
            })
            .collect();
        let failed = self.failed.iter().filter(|one| one.until > now);
        let barred: Vec<(Realm, Modules)> =
            failed.map(|one| (one.realm, one.modules.clone())).collect();
        decide(&Situation {
            names: &self.names,
            costs: &self.costs,
            demand: &demand,
            standing,
            barred: &barred,
            unsafe_modules: &self.unsafe_modules(),
            budget,
            parameters: &self.parameters,
        })
    }

    /// Modules that leave state which does not survive a fork, and modules that need them.
    pub fn unsafe_modules(&self) -> Modules {
        let mut found = self.hazards.clone();
        loop {
            let before = found.len();
            let needing =
                self.needs.iter().filter(|(_, needed)| !needed.intersection(&found).is_empty());
            let needing: Modules = needing.map(|(&module, _)| module).collect();
            found.extend_from(&needing);
            if found.len() == before {
                return found;
            }
        }
    }
}
