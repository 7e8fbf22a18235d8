//! The search for the zygotes that save most within a budget.
//!
//! Savings are submodular: the more zygotes there are, the less another one is worth. So the earlier
//! worth of a shape is an upper bound of its current worth, and each greedy step weighs only a few
//! shapes anew. Greedy steps alone are held up by their first choices; exchanges mend that. An exchange
//! adds a shape, and drops the zygotes that save least per byte until the rest fits. The outcome is
//! kept if it saves more.

use super::choose::ZygoteId;
use super::problem::{Problem, Shape};
use super::situation::{Situation, Standing};
use super::trees::{Forest, Node};

/// Number of shapes that are tried for one exchange.
const TRIED: usize = 12;
/// Maximum number of exchanges; the next plan finds what is left.
const EXCHANGES: usize = 24;

/// The place and worth that a shape would have in a forest.
#[derive(Debug, Clone)]
struct Offer {
    /// The zygote that the shape would be forked from.
    parent: Option<usize>,
    /// Bytes that planned zygotes would inherit from the shape instead of having themselves.
    relief: f64,
    /// The shape's worth; an upper bound if `is_old`.
    gain: f64,
    is_old: bool,
    is_taken: bool,
}

/// A shape that was added.
struct Taken {
    at: usize,
    /// Zygotes that were moved below the shape, with the bytes that they inherited before.
    moved: Vec<(usize, f64)>,
}

pub(super) struct Search<'a> {
    problem: &'a Problem,
    situation: &'a Situation<'a>,
}

impl<'a> Search<'a> {
    pub fn new(problem: &'a Problem, situation: &'a Situation<'a>) -> Self {
        Self { problem, situation }
    }

    /// The zygotes that users have given, and the zygotes above them.
    pub fn given(&self) -> Forest {
        let mut forest = self.standing();
        for (_, family) in forest.families() {
            if !self.has_given(&forest, &family) {
                forest.remove_all(self.problem, &family);
            }
        }
        forest
    }

    /// The standing zygotes.
    pub fn standing(&self) -> Forest {
        let mut forest = Forest::empty(self.problem);
        for (one, &shape) in self.situation.standing.iter().zip(&self.problem.standing) {
            let (standing, bytes) = (Some(one.id), one.bytes);
            forest.add(self.problem, Node { shape, parent: None, standing, bytes });
        }
        let place = |id: ZygoteId| self.situation.standing.iter().position(|one| one.id == id);
        for (node, one) in forest.nodes.iter_mut().zip(self.situation.standing) {
            if let Some(node) = node {
                node.parent = one.parent.and_then(place);
            }
        }
        // Zygotes in a circle have no root, and could not be retired from the leaves on: cut them off.
        let depths = forest.nodes().map(|(at, _)| forest.depth(at)).collect::<Vec<_>>();
        for (node, depth) in forest.nodes.iter_mut().flatten().zip(&depths) {
            if *depth == depths.len() {
                node.parent = None;
            }
        }
        forest
    }

    /// A forest's savings less the work of making it, spread over the horizon.
    pub fn value(&self, forest: &Forest) -> f64 {
        let planned = forest.nodes().filter(|(_, node)| node.standing.is_none());
        let work: f64 = planned.map(|(_, node)| self.work(forest, node.shape, node.parent)).sum();
        forest.saved(self.problem) - work
    }

    /// Matches planned zygotes of a forest with equal standing ones.
    pub fn matched(&self, mut forest: Forest) -> Forest {
        let standing = self.situation.standing;
        let mut order: Vec<usize> = (0..standing.len()).collect();
        let depth = |one: &Standing| {
            let above =
                |one: &&Standing| standing.iter().find(|other| Some(other.id) == one.parent);
            std::iter::successors(above(&one), above).take(standing.len()).count()
        };
        order.sort_by_key(|&place| depth(&standing[place]));
        for place in order {
            let (one, shape) = (&standing[place], self.problem.standing[place]);
            let above = |at: usize| {
                let parent = forest.node(at).parent.map(|parent| forest.node(parent).standing);
                parent.flatten() == one.parent
            };
            let same = forest
                .nodes()
                .find(|(at, node)| node.shape == shape && node.standing.is_none() && above(*at));
            let same = same.map(|(at, _)| at);
            if let Some(node) = same.and_then(|at| forest.nodes[at].as_mut()) {
                forest.bytes += one.bytes - node.bytes;
                node.standing = Some(one.id);
                node.bytes = one.bytes;
            }
        }
        forest
    }

    /// Improves a forest by single steps, as far as they lead.
    pub fn improve(&self, mut forest: Forest) -> Forest {
        self.prune(&mut forest, self.situation.budget);
        self.drop_idle(&mut forest);
        self.fill(&mut forest);
        for _ in 0..EXCHANGES {
            match self.exchange(&forest) {
                Some(better) => forest = better,
                None => break,
            }
        }
        // A zygote that would be too deep is not moved, though the offer counted on it: so prune again.
        self.prune(&mut forest, self.situation.budget);
        forest
    }

    /// Drops the zygotes that save least per byte until the rest is within a budget.
    pub fn prune(&self, forest: &mut Forest, budget: f64) {
        self.prune_beside(forest, budget, None);
    }

    /// Variant of [`Self::prune`] that keeps one zygote and those above it.
    fn prune_beside(&self, forest: &mut Forest, budget: f64, kept: Option<usize>) {
        while forest.bytes > budget {
            let mut kept_path = Vec::new();
            let mut above = kept;
            while let Some(at) = above {
                kept_path.push(at);
                above = forest.node(at).parent;
            }
            let families = forest.families();
            let least = families
                .iter()
                .filter(|(at, _)| !kept_path.contains(at))
                .map(|(at, family)| {
                    (self.has_given(forest, family), self.density(forest, family), *at, family)
                })
                .min_by(|(given, a, one, _), (other_given, b, other, _)| {
                    given.cmp(other_given).then(a.total_cmp(b)).then(one.cmp(other))
                });
            let Some((_, _, _, family)) = least else { return };
            forest.remove_all(self.problem, family);
        }
    }

    /// True if a user has given one of these zygotes.
    fn has_given(&self, forest: &Forest, family: &[usize]) -> bool {
        let given = |id| self.situation.standing.iter().any(|one| one.id == id && one.is_given);
        family.iter().any(|&at| forest.node(at).standing.is_some_and(given))
    }

    /// Savings of a zygote and those below it, for each byte.
    fn density(&self, forest: &Forest, family: &[usize]) -> f64 {
        let nodes = family.iter().map(|&at| forest.node(at));
        let bytes: f64 = nodes.clone().map(|node| node.bytes).sum();
        let planned = nodes.filter(|node| node.standing.is_none());
        let work: f64 = planned.map(|node| self.work(forest, node.shape, node.parent)).sum();
        (forest.loss_of(self.problem, family) - work) / bytes.max(1.0)
    }

    /// Drops zygotes whose savings are below a share of the work of making them again.
    fn drop_idle(&self, forest: &mut Forest) {
        for (at, mut family) in forest.families() {
            family.retain(|&at| forest.nodes[at].is_some());
            if family.is_empty() || self.has_given(forest, &family) {
                continue;
            }
            let node = forest.node(at);
            let work = self.work(forest, node.shape, node.parent);
            if forest.loss_of(self.problem, &family) < self.situation.parameters.idle * work {
                forest.remove_all(self.problem, &family);
            }
        }
    }

    /// Adds the shape that saves most for its bytes, again and again, while one fits and pays for its
    /// work.
    fn fill(&self, forest: &mut Forest) {
        let mut offers = self.offers(forest);
        while let Some(shape) = self.best(forest, &mut offers) {
            let moved = self.take(forest, shape, &offers[shape]);
            self.follow(forest, &mut offers, &moved);
        }
    }

    fn offers(&self, forest: &Forest) -> Vec<Offer> {
        let taken: Vec<usize> = forest.nodes().map(|(_, node)| node.shape).collect();
        let offer = |shape: usize| {
            let parent = self.parent(forest, shape);
            let relief = forest
                .nodes()
                .map(|(at, _)| self.relief(forest, shape, at, self.inherited(forest, at)))
                .sum();
            let is_taken = taken.contains(&shape);
            Offer { parent, relief, gain: f64::INFINITY, is_old: true, is_taken }
        };
        (0..self.problem.shapes.len()).map(offer).collect()
    }

    /// The shape with the best ratio of gain and bytes among those that fit.
    fn best(&self, forest: &Forest, offers: &mut [Offer]) -> Option<usize> {
        let free = self.situation.budget - forest.bytes;
        let mut best: Option<(f64, usize)> = None;
        for (shape, offer) in offers.iter_mut().enumerate() {
            if offer.is_taken || !self.may(shape, offer) {
                continue;
            }
            let bytes = self.bytes(forest, shape, offer);
            // Zygotes may inherit more bytes than the shape adds: then the shape is worth it in any
            // case.
            let ratio = |gain: f64| if bytes < 0.0 { f64::INFINITY } else { gain / bytes.max(1.0) };
            let least = best.map_or(0.0, |(ratio, _)| ratio);
            if bytes > free || ratio(offer.gain) <= least {
                continue;
            }
            if offer.is_old {
                offer.gain = self.gain(forest, shape, offer.parent);
                offer.is_old = false;
            }
            if ratio(offer.gain) > least {
                best = Some((ratio(offer.gain), shape));
            }
        }
        best.map(|(_, shape)| shape)
    }

    fn may(&self, shape: usize, offer: &Offer) -> bool {
        offer.parent.is_some() || self.problem.shapes[shape].atoms.is_empty()
    }

    /// Savings that a shape adds to a forest, less the work of making it.
    fn gain(&self, forest: &Forest, shape: usize, parent: Option<usize>) -> f64 {
        let serves = self.problem.shapes[shape].serves.iter();
        let gained: f64 = serves
            .map(|&(client, saved)| {
                self.problem.clients[client].rate * (saved - forest.best[client]).max(0.0)
            })
            .sum();
        let stands = self.problem.standing.contains(&shape);
        gained - if stands { 0.0 } else { self.work(forest, shape, parent) }
    }

    /// The work of making a zygote, in microseconds for each second of the horizon.
    fn work(&self, forest: &Forest, shape: usize, parent: Option<usize>) -> f64 {
        let parameters = self.situation.parameters;
        let imports = match parent {
            Some(parent) => {
                let inherited = &self.problem.shapes[forest.node(parent).shape];
                self.problem.shapes[shape].us - inherited.us
            }
            None => self.problem.shapes[shape].us + parameters.interpreter_us,
        };
        imports.max(0.0) / parameters.horizon
    }

    /// Bytes that a shape adds to a forest.
    fn bytes(&self, forest: &Forest, shape: usize, offer: &Offer) -> f64 {
        self.own_bytes(forest, shape, offer.parent) - offer.relief
    }

    /// Private bytes that a shape would have below a parent.
    fn own_bytes(&self, forest: &Forest, shape: usize, parent: Option<usize>) -> f64 {
        let parameters = self.situation.parameters;
        let inherited = match parent {
            Some(parent) => self.problem.shapes[forest.node(parent).shape].bytes,
            None => -parameters.interpreter_bytes,
        };
        parameters.overhead_bytes + self.problem.shapes[shape].bytes - inherited
    }

    /// Bytes that a zygote inherits from its parent.
    fn inherited(&self, forest: &Forest, at: usize) -> f64 {
        forest
            .node(at)
            .parent
            .map_or(0.0, |parent| self.problem.shapes[forest.node(parent).shape].bytes)
    }

    /// The best zygote to fork a shape from: the one that has most of its imports.
    fn parent(&self, forest: &Forest, shape: usize) -> Option<usize> {
        let deepest = self.situation.parameters.depth;
        forest
            .nodes()
            .filter(|(at, node)| {
                node.shape != shape
                    && is_below(&self.problem.shapes[shape], &self.problem.shapes[node.shape])
                    && forest.depth(*at) + 1 < deepest
            })
            .max_by(|(one, a), (other, b)| {
                let bytes = |node: &Node| self.problem.shapes[node.shape].bytes;
                bytes(a).total_cmp(&bytes(b)).then(other.cmp(one))
            })
            .map(|(at, _)| at)
    }

    /// Bytes that a planned zygote would inherit from a shape beyond the `inherited` ones.
    fn relief(&self, forest: &Forest, shape: usize, at: usize, inherited: f64) -> f64 {
        let node = forest.node(at);
        let (above, own) = (&self.problem.shapes[shape], &self.problem.shapes[node.shape]);
        if node.standing.is_some() || node.shape == shape || !is_below(own, above) {
            return 0.0;
        }
        (above.bytes - inherited).max(0.0)
    }

    /// Adds a shape, and moves below it the zygotes that inherit more from it.
    fn take(&self, forest: &mut Forest, shape: usize, offer: &Offer) -> Taken {
        let bytes = self.own_bytes(forest, shape, offer.parent);
        let node = Node { shape, parent: offer.parent, standing: None, bytes };
        let at = forest.add(self.problem, node);
        let depth = forest.depth(at);
        let places: Vec<usize> = forest.nodes().map(|(below, _)| below).collect();
        let mut moved = Vec::new();
        let now = self.problem.shapes[shape].bytes;
        for below in places {
            let inherited = self.inherited(forest, below);
            if self.relief(forest, shape, below, inherited) > 0.0
                && depth + 1 + forest.height(below) < self.situation.parameters.depth
                && let Some(node) = forest.nodes[below].as_mut()
            {
                node.parent = Some(at);
                node.bytes -= now - inherited;
                forest.bytes -= now - inherited;
                moved.push((below, inherited));
            }
        }
        Taken { at, moved }
    }

    /// Updates the offers after a shape was added.
    fn follow(&self, forest: &Forest, offers: &mut [Offer], taken: &Taken) {
        let at = taken.at;
        let (shape, depth) = (forest.node(at).shape, forest.depth(at));
        let (now, inherited) = (self.problem.shapes[shape].bytes, self.inherited(forest, at));
        for (other, offer) in offers.iter_mut().enumerate().filter(|(_, offer)| !offer.is_taken) {
            offer.is_old = true;
            offer.relief += self.relief(forest, other, at, inherited);
            for &(below, before) in &taken.moved {
                offer.relief += self.relief(forest, other, below, now)
                    - self.relief(forest, other, below, before);
            }
            let (above, own) = (&self.problem.shapes[shape], &self.problem.shapes[other]);
            let nearer = offer.parent.is_none_or(|parent| {
                self.problem.shapes[forest.node(parent).shape].bytes < above.bytes
            });
            if nearer && is_below(own, above) && depth + 1 < self.situation.parameters.depth {
                offer.parent = Some(at);
                // Less work is left for this shape now, so raise its bound.
                offer.gain += self.work(forest, shape, None);
            }
        }
        offers[shape].is_taken = true;
    }

    /// A forest that is better by one shape that did not fit, if there is one.
    fn exchange(&self, forest: &Forest) -> Option<Forest> {
        let mut offers = self.offers(forest);
        for (shape, offer) in offers.iter_mut().enumerate() {
            offer.gain = self.gain(forest, shape, offer.parent);
        }
        let mut order: Vec<(f64, usize)> = offers
            .iter()
            .enumerate()
            .filter(|(shape, offer)| !offer.is_taken && offer.gain > 0.0 && self.may(*shape, offer))
            .map(|(shape, offer)| (offer.gain / self.bytes(forest, shape, offer).max(1.0), shape))
            .collect();
        order.sort_by(|(a, one), (b, other)| b.total_cmp(a).then(one.cmp(other)));
        let value = self.value(forest);
        for (_, shape) in order.into_iter().take(TRIED) {
            let mut trial = forest.clone();
            let taken = self.take(&mut trial, shape, &offers[shape]);
            self.prune_beside(&mut trial, self.situation.budget, Some(taken.at));
            if trial.bytes > self.situation.budget {
                continue;
            }
            if self.value(&trial) > value {
                self.fill(&mut trial);
                return Some(trial);
            }
        }
        None
    }
}

/// True if one shape may be forked from another.
fn is_below(one: &Shape, above: &Shape) -> bool {
    one.realm == above.realm
        && above.atoms.is_subset(&one.atoms)
        && above.distributions.is_subset(&one.distributions)
}
