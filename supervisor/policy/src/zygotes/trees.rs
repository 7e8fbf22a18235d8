//! Zygotes as the search adds and removes them: the parent of each, and the clients that it serves.

use super::choose::ZygoteId;
use super::problem::Problem;

/// A zygote of a forest.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub shape: usize,
    pub parent: Option<usize>,
    /// The standing zygote that this node is, if it is one.
    pub standing: Option<ZygoteId>,
    /// Private memory, in bytes.
    pub bytes: f64,
}

/// Zygotes, and the clients that they serve.
#[derive(Debug, Clone)]
pub(super) struct Forest {
    pub nodes: Vec<Option<Node>>,
    /// For each client, the zygotes that may serve it, with the microseconds that each start saves.
    serving: Vec<Vec<(usize, f64)>>,
    /// Microseconds that each client saves a start with its best zygote.
    pub best: Vec<f64>,
    /// Memory of all zygotes, in bytes.
    pub bytes: f64,
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

    /// The zygotes and their places.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.as_ref()?)))
    }

    /// The zygote at a place; an empty node if it was removed.
    pub fn node(&self, at: usize) -> &Node {
        static GONE: Node = Node { shape: 0, parent: None, standing: None, bytes: 0.0 };
        self.nodes[at].as_ref().unwrap_or(&GONE)
    }

    /// Number of zygotes above one.
    pub fn depth(&self, at: usize) -> usize {
        let above = |&at: &usize| self.nodes[at].as_ref().and_then(|node| node.parent);
        std::iter::successors(above(&at), above).take(self.nodes.len()).count()
    }

    /// Savings that are lost without one zygote.
    pub fn loss(&self, problem: &Problem, at: usize) -> f64 {
        self.loss_of(problem, &[at])
    }

    /// Savings that are lost without some zygotes.
    pub fn loss_of(&self, problem: &Problem, gone: &[usize]) -> f64 {
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

    /// Each zygote with all zygotes below it, itself included.
    pub fn families(&self) -> Vec<(usize, Vec<usize>)> {
        let mut families: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (at, _) in self.nodes() {
            families[at].push(at);
            let mut above = self.node(at).parent;
            while let Some(of) = above {
                families[of].push(at);
                above = self.node(of).parent;
            }
        }
        let families = families.into_iter().enumerate();
        families.filter(|(_, family)| !family.is_empty()).collect()
    }

    /// A zygote and all zygotes below it.
    pub fn below(&self, at: usize) -> Vec<usize> {
        let family = self.families().into_iter().find(|(of, _)| *of == at);
        family.map_or_else(Vec::new, |(_, family)| family)
    }

    /// Length of the longest path down from a zygote.
    pub fn height(&self, at: usize) -> usize {
        let depth = self.depth(at);
        self.below(at).into_iter().map(|below| self.depth(below) - depth).max().unwrap_or(0)
    }

    /// Adds a zygote, and returns its place.
    pub fn add(&mut self, problem: &Problem, node: Node) -> usize {
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

    /// Drops zygotes.
    pub fn remove_all(&mut self, problem: &Problem, places: &[usize]) {
        for &at in places {
            self.remove(problem, at);
        }
    }

    /// Savings of all clients, in microseconds a second.
    pub fn saved(&self, problem: &Problem) -> f64 {
        problem.clients.iter().zip(&self.best).map(|(client, best)| client.rate * best).sum()
    }
}
