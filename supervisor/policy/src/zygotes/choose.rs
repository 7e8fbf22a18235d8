//! Which zygote serves a function, and why no other does.

use super::costs::Costs;
use super::demand::Function;
use super::names::{DistributionId, Distributions, ModuleId, Modules, Realm};

/// Number of a zygote, given out by whoever starts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZygoteId(pub u64);

/// A zygote that can be asked to fork.
#[derive(Debug, Clone)]
pub struct Zygote {
    /// Its number.
    pub id: ZygoteId,
    /// Where its children are.
    pub realm: Realm,
    /// All whose code it has seen: those of its view, not only of its modules, because a `.pth`
    /// file runs without being imported.
    pub distributions: Distributions,
    /// What it has imported, its parents' imports included.
    pub modules: Modules,
    /// How long its fork takes, in microseconds: it copies the tables of all its memory.
    pub fork_us: f64,
}

/// Whether a zygote may serve a function, and what that leaves to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Fitness {
    /// It may.
    Fit {
        /// Microseconds until the function's modules are there: the fork, and what is left to import.
        us: f64,
        /// The modules that are left to import.
        left: Modules,
    },
    /// It is of another interpreter or network.
    Elsewhere,
    /// It has seen code that is not in the function's environment.
    Foreign(Distributions),
}

impl Zygote {
    /// Whether it may serve a function. Nothing but a subset is safe: importing is running code.
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

/// The zygote that has a function's modules there first. Of two that are equal, the older.
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

/// Why a zygote does not serve a function.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It does.
    Serves {
        /// Microseconds until the function's modules are there.
        us: f64,
        /// What is left to import.
        left: Vec<ModuleId>,
    },
    /// Another is faster.
    Slower {
        /// By how many microseconds.
        by_us: f64,
        /// What it leaves to import and the one that serves does not.
        lacks: Vec<ModuleId>,
    },
    /// Another interpreter or network.
    Elsewhere,
    /// The function's environment lacks these.
    Foreign(Vec<DistributionId>),
}

/// What is to be said of each zygote about a function; the one that serves first, then those that
/// may, by what they leave to do.
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
