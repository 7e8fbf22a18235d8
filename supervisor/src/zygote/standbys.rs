//! Standbys: interpreters that have imported, ahead of a request, modules that no zygote may import.
//!
//! A thread, an open file or a driver's context does not survive a fork. But a start need not fork: a
//! standby waits in its own sandbox, with exactly the environment of its functions, and has imported all of
//! them. It shares no memory with other processes, so it is made last, and goes first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak_policy::zygotes::Realm;

use super::demand::Demand;
use super::kind::Kind;
use super::reads::Difference;
use crate::deployment::Function;
use crate::environment::Tree;
use crate::protocol::Reads;
use crate::sync::{Mutex, lock};
use crate::worker::{Worker, WorkerError};

/// Longest time that a standby may take to import its modules.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Assumed memory of a standby before one was made, in bytes.
const FIRST_GUESS: u64 = 256 << 20;

/// The functions that a standby is for: those of a realm and an environment that import some modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Purpose {
    pub realm: Realm,
    pub tree: String,
    /// Modules that the standby imports ahead.
    pub modules: BTreeSet<String>,
}

/// Standbys of one purpose.
#[derive(Debug)]
pub(super) struct Line {
    pub purpose: Purpose,
    pub tree: Arc<Tree>,
    pub kind: Kind,
    pub demand: Demand,
    pub ready: Vec<Standby>,
    pub is_making: bool,
    /// Memory of the last standby made, in bytes.
    pub bytes: u64,
    /// The reason why no other is made, if making one has failed.
    failed: Option<String>,
}

/// A waiting process, and the reads of its imports.
#[derive(Debug)]
pub(super) struct Standby {
    pub worker: Worker,
    pub reads: Reads,
}

/// All standbys.
#[derive(Debug, Default)]
pub(super) struct Standbys(pub Mutex<Lines>);

/// Standbys by their purpose.
#[derive(Debug, Default)]
pub(super) struct Lines(pub Vec<Line>);

/// The reason why a standby could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum StandbyError {
    /// The standby's process failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The standby's channel failed.
    #[error("talking to the standby: {0}")]
    Channel(#[from] std::io::Error),
    /// The standby did not answer in time.
    #[error("the standby did not import its modules within {PATIENCE:?}")]
    Slow,
    /// The standby has ended.
    #[error("the standby ended while it imported")]
    Ended,
    /// An import has failed.
    #[error("the standby could not import {0}")]
    Import(String),
}

impl Standbys {
    /// Memory of all waiting standbys, in bytes.
    pub fn bytes(&self) -> u64 {
        let lines = lock(&self.0);
        let ready = lines.0.iter().flat_map(|line| &line.ready);
        ready.map(|one| one.worker.sandbox.group().memory()).sum()
    }

    /// True if a standby is being made.
    pub fn is_making(&self) -> bool {
        lock(&self.0).0.iter().any(|line| line.is_making)
    }
}

impl Lines {
    /// Counts a start of a function with this purpose.
    pub fn note(&mut self, purpose: Purpose, tree: &Arc<Tree>, kind: Kind) {
        let now = Instant::now();
        self.0.retain(|line| !line.is_over(now));
        match self.0.iter_mut().find(|line| line.purpose == purpose) {
            Some(line) => line.demand.started(now),
            None => self.0.push(Line {
                purpose,
                tree: tree.clone(),
                kind,
                demand: Demand::new(now),
                ready: Vec::new(),
                is_making: false,
                bytes: FIRST_GUESS,
                failed: None,
            }),
        }
    }

    /// Adds the standby that was made. Drops it if all were evicted meanwhile.
    pub fn made(&mut self, purpose: &Purpose, made: Result<Standby, StandbyError>) {
        let Some(line) = self.0.iter_mut().find(|line| line.purpose == *purpose) else { return };
        line.is_making = false;
        match made {
            Ok(standby) => {
                line.bytes = standby.worker.sandbox.group().memory();
                line.ready.push(standby);
            }
            Err(error) => line.failed = Some(error.to_string()),
        }
    }
}

impl Line {
    /// Reads of a standby's imports whose answer would differ for a function.
    pub fn differences(
        &self,
        standby: &Standby,
        function: &Function,
        tree: &Tree,
    ) -> BTreeSet<Difference> {
        standby.reads.differences((&self.kind.variables, tree), (&function.variables, tree))
    }

    pub fn lacks(&self, now: Instant, most: usize) -> bool {
        self.failed.is_none() && self.ready.len() < self.demand.spares(now, most)
    }

    /// True if no function has needed a standby of this line for long.
    fn is_over(&self, now: Instant) -> bool {
        !self.is_making && self.demand.spares(now, 1) == 0
    }
}
