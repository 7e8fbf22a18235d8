//! The demand: functions, the rate of their starts, and their imports.

use std::collections::HashMap;
use std::sync::Arc;

use super::names::{DistributionId, Distributions, ModuleId, Modules, Realm};

/// Events a second. Older events count less: half as much after each half-life.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    weight: f64,
    at: f64,
}

impl Rate {
    /// A rate that was known at a time.
    pub fn of(per_second: f64, now: f64, half_life: f64) -> Self {
        Self { weight: per_second * half_life / std::f64::consts::LN_2, at: now }
    }

    /// Counts an event.
    pub fn count(&mut self, now: f64, half_life: f64) {
        self.weight = 1.0 + self.weight * decay(now - self.at, half_life);
        self.at = now;
    }

    /// Events a second.
    pub fn per_second(self, now: f64, half_life: f64) -> f64 {
        self.weight * decay(now - self.at, half_life) * std::f64::consts::LN_2 / half_life
    }
}

fn decay(seconds: f64, half_life: f64) -> f64 {
    (-seconds.max(0.0) / half_life).exp2()
}

/// The distributions of a function, and their requirements. A zygote's view must be closed under
/// requirements, because packages look for each other's metadata and data without an import.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// All distributions.
    pub distributions: Distributions,
    /// The distributions that each one requires, if known.
    pub requires: HashMap<DistributionId, Vec<DistributionId>>,
}

impl Environment {
    /// Distributions and all that they require, transitively.
    pub fn close(&self, distributions: &Distributions) -> Distributions {
        let mut closed = Distributions::new();
        let mut open: Vec<DistributionId> = distributions.iter().collect();
        while let Some(one) = open.pop() {
            if closed.insert(one) {
                open.extend(self.requires.get(&one).into_iter().flatten());
            }
        }
        closed
    }
}

/// A function, as the choice of its zygote sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// The realm in which the function runs.
    pub realm: Realm,
    /// Distributions that the function may see.
    pub environment: Arc<Environment>,
    /// Modules that the function imports when it starts.
    pub modules: Modules,
}

/// Weight of the last start in the share of starts that import a module.
const NEWEST: f64 = 0.2;
/// Share of its starts from which on a function is said to import a module.
const USUAL: f64 = 0.5;

/// The imports of one function, learned from its starts.
#[derive(Debug, Clone, Default)]
pub(super) struct Imports {
    /// The share of starts that import each module; empty until a start has reported.
    shares: HashMap<ModuleId, f64>,
}

impl Imports {
    /// Includes the imports of a start, and returns the usual imports of the function.
    pub(super) fn learn(&mut self, imported: &Modules) -> Modules {
        if self.shares.is_empty() {
            self.shares = imported.iter().map(|module| (module, 1.0)).collect();
        } else {
            for (&module, share) in &mut self.shares {
                let now = if imported.contains(module) { 1.0 } else { 0.0 };
                *share += NEWEST * (now - *share);
            }
            for module in imported.iter() {
                self.shares.entry(module).or_insert(NEWEST);
            }
            self.shares.retain(|_, share| *share > 0.01);
        }
        self.usual()
    }

    /// True if a start has reported.
    pub(super) fn has_learned(&self) -> bool {
        !self.shares.is_empty()
    }

    /// Modules that most starts import.
    fn usual(&self) -> Modules {
        let usual = self.shares.iter().filter(|(_, share)| **share >= USUAL);
        usual.map(|(&module, _)| module).collect()
    }
}

/// A function and the rate of its starts.
#[derive(Debug, Clone)]
pub struct Demand<'a> {
    /// The function.
    pub function: &'a Function,
    /// Starts a second.
    pub rate: f64,
}

#[cfg(test)]
mod tests {
    use super::super::names::Names;
    use super::*;

    #[test]
    fn a_rate_follows_its_events_and_halves_without_them() {
        let mut rate = Rate::default();
        for second in 0..10_000 {
            rate.count(f64::from(second) / 2.0, 100.0);
        }
        let told = rate.per_second(5000.0, 100.0);
        assert!((told - 2.0).abs() < 0.05, "{told}");
        let later = rate.per_second(5100.0, 100.0);
        assert!((later / told - 0.5).abs() < 1e-9);
        let restored = Rate::of(told, 5000.0, 100.0);
        assert!((restored.per_second(5100.0, 100.0) - later).abs() < 1e-9);
    }

    #[test]
    fn imports_of_a_few_starts_come_and_go() {
        let mut names = Names::default();
        let [a, b] = ["a", "b"].map(|name| names.module(None, name));
        let (both, one): (Modules, Modules) =
            ([a, b].into_iter().collect(), [a].into_iter().collect());
        let mut imports = Imports::default();
        assert_eq!(imports.learn(&one), one);
        assert_eq!(imports.learn(&both), one);
        for _ in 0..10 {
            imports.learn(&both);
        }
        assert_eq!(imports.learn(&both), both);
        for _ in 0..10 {
            imports.learn(&one);
        }
        assert_eq!(imports.learn(&one), one);
    }

    #[test]
    fn what_is_required_is_followed_to_its_end() {
        let mut names = Names::default();
        let [pandas, numpy, six, other] = ["p", "n", "s", "o"].map(|name| names.distribution(name));
        let requires = HashMap::from([(pandas, vec![numpy]), (numpy, vec![six, pandas])]);
        let distributions = [pandas, numpy, six, other].into_iter().collect();
        let environment = Environment { distributions, requires };
        let closed = environment.close(&[pandas].into_iter().collect());
        assert_eq!(closed, [pandas, numpy, six].into_iter().collect());
    }
}
