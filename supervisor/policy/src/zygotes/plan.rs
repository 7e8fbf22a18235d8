//! The plan: from demand, costs and the standing zygotes to the zygotes to start and to retire.
//!
//! The worth of a zygote to a function is the time that each start saves against the next best zygote,
//! times the rate of starts. The cost of a zygote is the memory that its imports add to its parent's,
//! and a fixed overhead. The plan saves the most within the budget, as far as greedy steps and
//! exchanges find it. Standing zygotes are kept unless a change pays for the work of making it.

use std::collections::HashMap;

use super::choose::ZygoteId;
use super::names::{Distributions, Modules, Realm};
use super::problem::Problem;
use super::search::Search;
use super::situation::{Situation, Standing};
use super::trees::Forest;

/// The process that a new zygote is forked from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// None: an interpreter is started.
    Nobody,
    /// A standing zygote.
    Standing(ZygoteId),
    /// A zygote that the plan starts, by its place among the plan's starts.
    Planned(usize),
}

impl Parent {
    /// This parent in a list of starts with `others` more at its front.
    #[must_use]
    pub fn after(self, others: usize) -> Self {
        match self {
            Self::Planned(place) => Self::Planned(place + others),
            other => other,
        }
    }
}

/// A zygote to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The zygote's realm.
    pub realm: Realm,
    /// The process that the zygote is forked from.
    pub parent: Parent,
    /// Distributions of the zygote's view: those of its modules, and those that they require.
    pub distributions: Distributions,
    /// Modules that the zygote is to import, without its parent's.
    pub imports: Modules,
    /// All modules that the zygote will have imported.
    pub modules: Modules,
    /// Expected time of its imports, in microseconds.
    pub us: f64,
    /// Expected private memory, in bytes.
    pub bytes: f64,
    /// Saving of the zygote's functions against having no such zygote, in microseconds of waiting a
    /// second.
    pub saves: f64,
}

/// The changes. Both lists can be carried out in their order, because parents start first and are
/// retired last. To keep within the budget, retire first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Zygotes to end, children before parents.
    pub retire: Vec<ZygoteId>,
    /// Zygotes to start, parents before children.
    pub start: Vec<Start>,
}

impl Plan {
    /// True if nothing is to change.
    pub fn is_empty(&self) -> bool {
        self.retire.is_empty() && self.start.is_empty()
    }
}

/// Plans the zygotes to start and retire in a situation.
pub fn plan(situation: &Situation<'_>) -> Plan {
    let problem = Problem::new(situation);
    let search = Search::new(&problem, situation);
    let grown = search.improve(search.standing());
    let fresh = search.matched(search.improve(search.given()));
    let (grown_value, fresh_value) = (search.value(&grown), search.value(&fresh));
    let better =
        if fresh_value > grown_value * (1.0 + situation.parameters.margin) { fresh } else { grown };
    changes(situation, &problem, &better)
}

/// Zygotes to end so that the rest is within the budget, children before parents. Those that save least
/// per byte go first. Nothing is started.
pub fn shrink(situation: &Situation<'_>) -> Vec<ZygoteId> {
    let problem = Problem::new(situation);
    let search = Search::new(&problem, situation);
    let mut forest = search.standing();
    search.prune(&mut forest, situation.budget);
    changes(situation, &problem, &forest).retire
}

fn changes(situation: &Situation<'_>, problem: &Problem, forest: &Forest) -> Plan {
    let kept: HashMap<ZygoteId, usize> =
        forest.nodes().filter_map(|(at, node)| Some((node.standing?, at))).collect();
    let depths = depths(situation.standing);
    let mut retire: Vec<ZygoteId> =
        situation.standing.iter().map(|one| one.id).filter(|id| !kept.contains_key(id)).collect();
    retire.sort_by_key(|id| (std::cmp::Reverse(depths[id]), *id));

    let mut places: HashMap<usize, Parent> =
        kept.iter().map(|(&id, &at)| (at, Parent::Standing(id))).collect();
    let mut start = Vec::new();
    let mut planned: Vec<usize> =
        forest.nodes().filter(|(_, node)| node.standing.is_none()).map(|(at, _)| at).collect();
    planned.sort_by_key(|&at| (forest.depth(at), at));
    for at in planned {
        let (node, above) = (forest.node(at), forest.node(at).parent);
        let shape = &problem.shapes[node.shape];
        let modules = problem.modules(&shape.atoms);
        let inherited = above.map(|above| &problem.shapes[forest.node(above).shape].atoms);
        let imports = inherited
            .map_or_else(|| shape.atoms.clone(), |inherited| shape.atoms.difference(inherited));
        places.insert(at, Parent::Planned(start.len()));
        start.push(Start {
            realm: shape.realm,
            parent: above.map_or(Parent::Nobody, |above| places[&above]),
            distributions: shape.distributions.clone(),
            us: imports.weight(&problem.us),
            imports: problem.modules(&imports),
            modules,
            bytes: node.bytes,
            saves: forest.loss(problem, at),
        });
    }
    Plan { retire, start }
}

/// Distance of each zygote from its root.
fn depths(standing: &[Standing]) -> HashMap<ZygoteId, usize> {
    let parents: HashMap<_, _> = standing.iter().map(|one| (one.id, one.parent)).collect();
    let depth = |id: &ZygoteId| {
        let above = |id: &ZygoteId| parents.get(id).copied().flatten();
        // Stop after as many steps as there are zygotes, in case the parents form a circle.
        std::iter::successors(above(id), above).take(standing.len()).count()
    };
    standing.iter().map(|one| (one.id, depth(&one.id))).collect()
}
