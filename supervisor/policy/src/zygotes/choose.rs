//! The choice of the zygote that serves a function, and the reasons against the others.

use super::costs::Costs;
use super::demand::Function;
use super::names::{DistributionId, Distributions, ModuleId, Modules, Realm};

/// Number of a zygote, assigned by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZygoteId(pub u64);

/// A zygote that can be asked to fork.
#[derive(Debug, Clone)]
pub struct Zygote {
    /// The zygote's number.
    pub id: ZygoteId,
    /// The realm of the zygote's children.
    pub realm: Realm,
    /// Distributions whose code the zygote has seen: all of its view, not only those of its modules,
    /// because a `.pth` file runs without being imported.
    pub distributions: Distributions,
    /// Modules that the zygote has imported, including its parents'.
    pub modules: Modules,
    /// Time of a fork, in microseconds: it copies the page tables of all the zygote's memory.
    pub fork_us: f64,
}

/// The fitness of a zygote for a function, and the work that is left.
#[derive(Debug, Clone, PartialEq)]
pub enum Fitness {
    /// The zygote may serve the function.
    Fit {
        /// Microseconds until the function's modules are there: the fork, and the imports that are
        /// left.
        us: f64,
        /// The modules that are left to import.
        left: Modules,
    },
    /// The zygote is of another realm.
    Elsewhere,
    /// The zygote has seen code that is not in the function's environment.
    Foreign(Distributions),
}

impl Zygote {
    /// The zygote's fitness for a function. Only a subset of the function's distributions is safe,
    /// because an import runs code.
    pub fn fitness(&self, function: &Function, costs: &Costs) -> Fitness {
        if self.realm != function.realm {
            return Fitness::Elsewhere;
        }
        let foreign = self.distributions.difference(&function.environment.distributions);
        if !foreign.is_empty() {
            return Fitness::Foreign(foreign);
        }
        let left = function.modules.difference(&self.modules);
        Fitness::Fit { us: self.fork_us + costs.sum(&left).us, left }
    }
}

/// The zygote that has a function's modules ready first; of two equal ones, the older.
pub fn choose<'a>(
    zygotes: impl IntoIterator<Item = &'a Zygote>,
    function: &Function,
    costs: &Costs,
) -> Option<&'a Zygote> {
    let fit = zygotes.into_iter().filter_map(|zygote| match zygote.fitness(function, costs) {
        Fitness::Fit { us, .. } => Some((us, zygote)),
        _ => None,
    });
    fit.min_by(|(a, one), (b, other)| a.total_cmp(b).then(one.id.cmp(&other.id)))
        .map(|(_, zygote)| zygote)
}

/// The reason why a zygote serves a function or does not.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The zygote serves the function.
    Serves {
        /// Microseconds until the function's modules are there.
        us: f64,
        /// Modules that are left to import.
        left: Vec<ModuleId>,
    },
    /// Another zygote is faster.
    Slower {
        /// Microseconds that the other zygote saves.
        by_us: f64,
        /// Modules that this zygote leaves to import and the other does not.
        lacks: Vec<ModuleId>,
    },
    /// The zygote is of another realm.
    Elsewhere,
    /// Distributions that the zygote has seen and the function's environment lacks.
    Foreign(Vec<DistributionId>),
}

/// The verdict on each zygote for a function: first the one that serves, then the slower ones by their
/// time.
pub fn explain(zygotes: &[Zygote], function: &Function, costs: &Costs) -> Vec<(ZygoteId, Verdict)> {
    let chosen = choose(zygotes, function, costs);
    let best = chosen.map(|zygote| (zygote, zygote.fitness(function, costs)));
    let mut verdicts: Vec<_> = zygotes
        .iter()
        .map(|zygote| {
            let verdict = match (zygote.fitness(function, costs), &best) {
                (Fitness::Elsewhere, _) => Verdict::Elsewhere,
                (Fitness::Foreign(foreign), _) => Verdict::Foreign(foreign.iter().collect()),
                (
                    Fitness::Fit { us, left },
                    Some((best, Fitness::Fit { us: least, left: leaves })),
                ) if best.id != zygote.id => {
                    let lacks = left.difference(leaves).iter().collect();
                    Verdict::Slower { by_us: us - least, lacks }
                }
                (Fitness::Fit { us, left }, _) => {
                    Verdict::Serves { us, left: left.iter().collect() }
                }
            };
            (zygote.id, verdict)
        })
        .collect();
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Serves { .. } => (0, 0.0),
        Verdict::Slower { by_us, .. } => (1, *by_us),
        Verdict::Foreign(_) => (2, 0.0),
        Verdict::Elsewhere => (3, 0.0),
    };
    verdicts.sort_by(|(_, a), (_, b)| {
        let ((a, a_us), (b, b_us)) = (rank(a), rank(b));
        a.cmp(&b).then(a_us.total_cmp(&b_us))
    });
    verdicts
}
