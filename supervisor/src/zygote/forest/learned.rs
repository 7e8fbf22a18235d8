//! What was learned, by names, so that it outlives the supervisor: numbers do not.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::costs::Cost;
use super::demand::Rate;
use super::names::{Distributions, ModuleId};
use super::policy::Policy;
use super::set::Id;

/// All that a policy has learned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Modules that functions import.
    pub modules: Vec<LearnedModule>,
    /// Functions that have started.
    pub functions: Vec<LearnedFunction>,
}

/// A module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedModule {
    /// Its full name.
    pub name: String,
    /// The digest of its distribution; none for the interpreter's own library.
    pub distribution: Option<String>,
    /// Microseconds and bytes of its import, where they were measured.
    pub cost: Option<(f64, f64)>,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedFunction {
    /// Its name.
    pub name: String,
    /// The digests of its distributions, sorted: what it has imported with others tells nothing.
    pub distributions: Vec<String>,
    /// Modules by their place in the list, and the share of starts that import each.
    pub imports: Vec<(usize, f64)>,
    /// Starts a second.
    pub rate: f64,
    /// When that was so.
    pub at: f64,
}

impl Policy {
    /// What is to be stored.
    pub fn learned(&self, now: f64) -> Learned {
        let module = |place| {
            let id = ModuleId::at(place);
            let module = self.names.module_named(id);
            let digest = module.distribution.map(|one| self.names.digest(one).to_owned());
            let cost = self.costs.measured(id).map(|cost| (cost.us, cost.bytes));
            LearnedModule { name: module.name.clone(), distribution: digest, cost }
        };
        let functions = self.functions.iter().map(|(name, known)| {
            let mut imports: Vec<_> =
                known.imports.shares().map(|(module, share)| (module.place(), share)).collect();
            imports.sort_unstable_by_key(|(place, _)| *place);
            LearnedFunction {
                name: name.clone(),
                distributions: self.digests(&known.function.environment.distributions),
                imports,
                rate: known.rate.per_second(now, self.parameters.half_life),
                at: now,
            }
        });
        let mut functions: Vec<LearnedFunction> = functions.collect();
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        Learned { modules: (0..self.names.modules()).map(module).collect(), functions }
    }

    /// Takes over what was stored. Of functions it is taken by those that are deployed already, with the
    /// distributions that they had.
    pub fn restore(&mut self, learned: &Learned) {
        let mut ids = Vec::with_capacity(learned.modules.len());
        for module in &learned.modules {
            let owner = module.distribution.as_ref().map(|one| self.names.distribution(one));
            let id = self.names.module(owner, &module.name);
            if let Some((us, bytes)) = module.cost {
                self.costs.observe(id, Cost { us, bytes });
            }
            ids.push(id);
        }
        let by_name: HashMap<&str, &LearnedFunction> =
            learned.functions.iter().map(|one| (one.name.as_str(), one)).collect();
        let half_life = self.parameters.half_life;
        let mut digests = HashMap::new();
        for (name, known) in &self.functions {
            digests.insert(name.clone(), self.digests(&known.function.environment.distributions));
        }
        for (name, known) in &mut self.functions {
            let Some(stored) = by_name.get(name.as_str()) else { continue };
            known.rate = Rate::of(stored.rate, stored.at, half_life);
            if digests.get(name) == Some(&stored.distributions) && !stored.imports.is_empty() {
                let shares = stored.imports.iter();
                let shares = shares.filter_map(|&(at, share)| Some((*ids.get(at)?, share)));
                known.function.modules = known.imports.restore(shares);
            }
        }
    }

    fn digests(&self, distributions: &Distributions) -> Vec<String> {
        let mut digests: Vec<String> =
            distributions.iter().map(|one| self.names.digest(one).to_owned()).collect();
        digests.sort();
        digests
    }
}
