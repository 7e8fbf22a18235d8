//! Looking for the zygotes that save most within a budget.
//!
//! Savings are submodular: a zygote is worth the less the more others there are. So what a shape was
//! worth is never less than what it is worth now, and few have to be weighed anew in each greedy step.
//! Greedy alone is held up by what it took first; exchanges mend that: a shape is added, what saves
//! least per byte goes until the rest fits, and the outcome is kept where it saves more.

use super::choose::ZygoteId;
use super::plan::{Situation, Standing};
use super::problem::{Problem, Shape};

/// How many shapes are tried for an exchange before it is given up.
const TRIED: usize = 12;
/// Most exchanges; what is left is found by the next plan.
const EXCHANGES: usize = 24;

/// A zygote of a forest.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub shape: usize,
    pub parent: Option<usize>,
    /// The one that it is, where it stands.
    pub standing: Option<ZygoteId>,
    /// Private memory.
    pub bytes: f64,
}

/// Zygotes, and whom they serve.
#[derive(Debug, Clone)]
pub(super) struct Forest {
    nodes: Vec<Option<Node>>,
    /// Those that may serve a client, with what each saves.
    serving: Vec<Vec<(usize, f64)>>,
    /// What each client saves with the best.
    best: Vec<f64>,
    bytes: f64,
}

impl Forest {
    pub fn empty(problem: &Problem) -> Self {
        let clients = problem.clients.len();
        Self {
            nodes: Vec::new(),
            serving: vec![Vec::new(); clients],
            best: vec![0.0; clients],
            bytes: 0.0,
        }
    }

    /// Its zygotes and their places.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.as_ref()?)))
    }

    /// The zygote at a place, where there is one.
    pub fn node(&self, at: usize) -> &Node {
        static GONE: Node = Node { shape: 0, parent: None, standing: None, bytes: 0.0 };
        self.nodes[at].as_ref().unwrap_or(&GONE)
    }

    /// How many zygotes are above one.
    pub fn depth(&self, at: usize) -> usize {
        let above = |&at: &usize| self.nodes[at].as_ref().and_then(|node| node.parent);
        std::iter::successors(above(&at), above).take(self.nodes.len()).count()
    }

    /// What is lost without one zygote and those below it.
    fn loss_below(&self, problem: &Problem, at: usize) -> f64 {
        self.loss_of(problem, &self.below(at))
    }

    /// What is lost without one zygote.
    pub fn loss(&self, problem: &Problem, at: usize) -> f64 {
        self.loss_of(problem, &[at])
    }

    fn loss_of(&self, problem: &Problem, gone: &[usize]) -> f64 {
        let mut seen = vec![false; if gone.len() > 1 { self.best.len() } else { 0 }];
        let mut loss = 0.0;
        for &at in gone {
            for &(client, saved) in &problem.shapes[self.node(at).shape].serves {
                let best = self.best[client];
                if saved < best || (gone.len() > 1 && std::mem::replace(&mut seen[client], true)) {
                    continue;
                }
                let others = self.serving[client].iter().filter(|(other, _)| !gone.contains(other));
                let without = others.map(|&(_, saved)| saved).fold(0.0, f64::max);
                loss += problem.clients[client].rate * (best - without);
            }
        }
        loss
    }

    /// A zygote and all that were forked from it, children after parents.
    fn below(&self, at: usize) -> Vec<usize> {
        let mut found = vec![at];
        let mut next = 0;
        while let Some(&above) = found.get(next) {
            next += 1;
            let children = self.nodes().filter(|(_, node)| node.parent == Some(above));
            found.extend(children.map(|(at, _)| at));
        }
        found
    }

    /// The longest path down from a zygote.
    fn height(&self, at: usize) -> usize {
        let depth = self.depth(at);
        self.below(at).into_iter().map(|below| self.depth(below) - depth).max().unwrap_or(0)
    }

    fn add(&mut self, problem: &Problem, node: Node) -> usize {
        let at = self.nodes.len();
        for &(client, saved) in &problem.shapes[node.shape].serves {
            self.serving[client].push((at, saved));
            self.best[client] = self.best[client].max(saved);
        }
        self.bytes += node.bytes;
        self.nodes.push(Some(node));
        at
    }

    fn remove(&mut self, problem: &Problem, at: usize) {
        let Some(node) = self.nodes[at].take() else { return };
        self.bytes -= node.bytes;
        for &(client, _) in &problem.shapes[node.shape].serves {
            let serving = &mut self.serving[client];
            serving.retain(|(other, _)| *other != at);
            self.best[client] = serving.iter().map(|&(_, saved)| saved).fold(0.0, f64::max);
        }
    }

    /// What its clients save, in microseconds a second.
    fn saved(&self, problem: &Problem) -> f64 {
        problem.clients.iter().zip(&self.best).map(|(client, best)| client.rate * best).sum()
    }
}

/// What a shape would be in a forest, were it added.
#[derive(Debug, Clone)]
struct Offer {
    /// Whom it would be forked from.
    parent: Option<usize>,
    /// What planned zygotes would then inherit from it and not bring themselves, in bytes.
    relief: f64,
    /// What it is worth: at most this where that is old.
    gain: f64,
    is_old: bool,
    is_taken: bool,
}

pub(super) struct Search<'a> {
    problem: &'a Problem,
    situation: &'a Situation<'a>,
}

impl<'a> Search<'a> {
    pub fn new(problem: &'a Problem, situation: &'a Situation<'a>) -> Self {
        Self { problem, situation }
    }

    /// What users have given, and those above it.
    pub fn given(&self) -> Forest {
        let mut forest = self.standing();
        let places: Vec<usize> = forest.nodes().map(|(at, _)| at).collect();
        for at in places.into_iter().rev() {
            if !self.has_given(&forest, at) {
                self.remove_below(&mut forest, at);
            }
        }
        forest
    }

    /// What stands.
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
        forest
    }

    /// A forest's savings less the work of making it, spread over the horizon.
    pub fn value(&self, forest: &Forest) -> f64 {
        let planned = forest.nodes().filter(|(_, node)| node.standing.is_none());
        let work: f64 = planned.map(|(_, node)| self.work(forest, node.shape, node.parent)).sum();
        forest.saved(self.problem) - work
    }

    /// Takes for zygotes that stand those of a forest that are the same.
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

    /// Makes the best of a forest that steps from it lead to.
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
        forest
    }

    /// Drops what saves least per byte until the rest is within a budget.
    pub fn prune(&self, forest: &mut Forest, budget: f64) {
        self.prune_beside(forest, budget, None);
    }

    /// The same, without one zygote and those above it.
    fn prune_beside(&self, forest: &mut Forest, budget: f64, kept: Option<usize>) {
        while forest.bytes > budget {
            let mut kept_path = Vec::new();
            let mut above = kept;
            while let Some(at) = above {
                kept_path.push(at);
                above = forest.node(at).parent;
            }
            let least = forest
                .nodes()
                .filter(|(at, _)| !kept_path.contains(at))
                .map(|(at, _)| (self.has_given(forest, at), self.density(forest, at), at))
                .min_by(|(given, a, one), (other_given, b, other)| {
                    given.cmp(other_given).then(a.total_cmp(b)).then(one.cmp(other))
                });
            let Some((_, _, at)) = least else { return };
            self.remove_below(forest, at);
        }
    }

    /// Whether a zygote or one below it was given by a user.
    fn has_given(&self, forest: &Forest, at: usize) -> bool {
        let given = |id| self.situation.standing.iter().any(|one| one.id == id && one.is_given);
        forest.below(at).into_iter().any(|at| forest.node(at).standing.is_some_and(given))
    }

    /// What a zygote and those below it save for each byte.
    fn density(&self, forest: &Forest, at: usize) -> f64 {
        let below = forest.below(at);
        let bytes: f64 = below.iter().map(|&at| forest.node(at).bytes).sum();
        let planned =
            below.iter().map(|&at| forest.node(at)).filter(|node| node.standing.is_none());
        let work: f64 = planned.map(|node| self.work(forest, node.shape, node.parent)).sum();
        (forest.loss_of(self.problem, &below) - work) / bytes.max(1.0)
    }

    fn remove_below(&self, forest: &mut Forest, at: usize) {
        for at in forest.below(at) {
            forest.remove(self.problem, at);
        }
    }

    /// Drops what would not be worth a part of the work of making it again.
    fn drop_idle(&self, forest: &mut Forest) {
        let places: Vec<usize> = forest.nodes().map(|(at, _)| at).collect();
        // From the youngest: what was forked comes after whom it was forked from.
        for at in places.into_iter().rev() {
            let node = forest.node(at);
            let worth = self.situation.parameters.idle * self.work(forest, node.shape, node.parent);
            if forest.loss_below(self.problem, at) < worth && !self.has_given(forest, at) {
                self.remove_below(forest, at);
            }
        }
    }

    /// Adds what saves most for its bytes, again and again, while that fits and pays for its work.
    fn fill(&self, forest: &mut Forest) {
        let mut offers = self.offers(forest);
        while let Some(shape) = self.best(forest, &mut offers) {
            let offer = offers[shape].clone();
            self.take(forest, &mut offers, shape, &offer);
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
        loop {
            let mut best: Option<(f64, usize)> = None;
            for (shape, offer) in offers.iter().enumerate() {
                let bytes = self.bytes(forest, shape, offer);
                let pays = offer.gain > 0.0 || bytes < 0.0;
                if offer.is_taken || !pays || bytes > free || !self.may(shape, offer) {
                    continue;
                }
                // What others inherit can be more than what it brings: that is worth it in any case.
                let ratio = if bytes < 0.0 { f64::INFINITY } else { offer.gain / bytes.max(1.0) };
                if best.is_none_or(|(other, _)| ratio > other) {
                    best = Some((ratio, shape));
                }
            }
            let (_, shape) = best?;
            if !offers[shape].is_old {
                return Some(shape);
            }
            let gain = self.gain(forest, shape, offers[shape].parent);
            offers[shape].gain = gain;
            offers[shape].is_old = false;
        }
    }

    fn may(&self, shape: usize, offer: &Offer) -> bool {
        offer.parent.is_some() || self.problem.shapes[shape].atoms.is_empty()
    }

    /// What a forest saves more with a shape, less the work of making it.
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

    /// Memory that a shape adds.
    fn bytes(&self, forest: &Forest, shape: usize, offer: &Offer) -> f64 {
        self.own_bytes(forest, shape, offer.parent) - offer.relief
    }

    /// Memory of its own that a shape would have below a parent.
    fn own_bytes(&self, forest: &Forest, shape: usize, parent: Option<usize>) -> f64 {
        let parameters = self.situation.parameters;
        let inherited = match parent {
            Some(parent) => self.problem.shapes[forest.node(parent).shape].bytes,
            None => -parameters.interpreter_bytes,
        };
        parameters.overhead_bytes + self.problem.shapes[shape].bytes - inherited
    }

    /// Bytes that a zygote does not bring itself.
    fn inherited(&self, forest: &Forest, at: usize) -> f64 {
        forest
            .node(at)
            .parent
            .map_or(0.0, |parent| self.problem.shapes[forest.node(parent).shape].bytes)
    }

    /// The best zygote to fork a shape from: that which has most of its imports.
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

    /// Bytes that a planned zygote, which inherits some, would inherit more from a shape.
    fn relief(&self, forest: &Forest, shape: usize, at: usize, inherited: f64) -> f64 {
        let node = forest.node(at);
        let (above, own) = (&self.problem.shapes[shape], &self.problem.shapes[node.shape]);
        if node.standing.is_some() || node.shape == shape || !is_below(own, above) {
            return 0.0;
        }
        (above.bytes - inherited).max(0.0)
    }

    /// Adds a shape, and moves below it those that inherit more from it.
    fn take(
        &self,
        forest: &mut Forest,
        offers: &mut [Offer],
        shape: usize,
        offer: &Offer,
    ) -> usize {
        let bytes = self.own_bytes(forest, shape, offer.parent);
        let node = Node { shape, parent: offer.parent, standing: None, bytes };
        let at = forest.add(self.problem, node);
        let depth = forest.depth(at);
        let moved: Vec<usize> = forest
            .nodes()
            .map(|(below, _)| below)
            .filter(|&below| {
                self.relief(forest, shape, below, self.inherited(forest, below)) > 0.0
                    && depth + 1 + forest.height(below) < self.situation.parameters.depth
            })
            .collect();
        for below in moved {
            let inherited = self.inherited(forest, below);
            let now = self.problem.shapes[shape].bytes;
            for (other, offer) in offers.iter_mut().enumerate() {
                offer.relief += self.relief(forest, other, below, now)
                    - self.relief(forest, other, below, inherited);
            }
            if let Some(node) = forest.nodes[below].as_mut() {
                node.parent = Some(at);
                node.bytes -= now - inherited;
                forest.bytes -= now - inherited;
            }
        }
        let inherited = self.inherited(forest, at);
        for (other, offer) in offers.iter_mut().enumerate() {
            offer.relief += self.relief(forest, other, at, inherited);
            offer.is_old = true;
            let (above, own) = (&self.problem.shapes[shape], &self.problem.shapes[other]);
            let nearer = offer.parent.is_none_or(|parent| {
                self.problem.shapes[forest.node(parent).shape].bytes < above.bytes
            });
            if other != shape && nearer && is_below(own, above) && depth + 1 < self.depth() {
                offer.parent = Some(at);
                // It needs less work now, so what it was worth is no bound any more.
                offer.gain += self.work(forest, shape, None);
            }
        }
        offers[shape].is_taken = true;
        at
    }

    fn depth(&self) -> usize {
        self.situation.parameters.depth
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
            let mut spent = offers.clone();
            let offer = offers[shape].clone();
            let at = self.take(&mut trial, &mut spent, shape, &offer);
            self.prune_beside(&mut trial, self.situation.budget, Some(at));
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

/// Whether one may be forked from another.
fn is_below(one: &Shape, above: &Shape) -> bool {
    one.realm == above.realm
        && above.atoms.is_subset(&one.atoms)
        && above.distributions.is_subset(&one.distributions)
}
