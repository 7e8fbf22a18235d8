//! Standbys: interpreters that have imported ahead of a request what no zygote may have.
//!
//! A thread, an open file or a driver's context does not survive a fork, but a start need not fork: a process
//! that waits in its own sandbox, with exactly the environment of the functions that it is for, has them all
//! the same. It shares no memory with any other, so it is made last, and goes first.

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
/// What one takes before any was made, in bytes.
const FIRST_GUESS: u64 = 256 << 20;

/// Whom standbys are for: functions of a realm and an environment that import some modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Purpose {
    pub realm: Realm,
    pub tree: String,
    /// All that they import ahead.
    pub modules: BTreeSet<String>,
}

/// Standbys of one sort.
#[derive(Debug)]
pub(super) struct Line {
    pub purpose: Purpose,
    pub tree: Arc<Tree>,
    pub kind: Kind,
    pub demand: Demand,
    pub ready: Vec<Standby>,
    pub is_making: bool,
    /// Memory of the last one, in bytes.
    pub bytes: u64,
    /// Why no other is made, if none is.
    failed: Option<String>,
}

/// A process that waits, and what its imports have read.
#[derive(Debug)]
pub(super) struct Standby {
    pub worker: Worker,
    pub reads: Reads,
}

/// All standbys.
#[derive(Debug, Default)]
pub(super) struct Standbys(pub Mutex<Lines>);

/// Standbys by whom they are for.
#[derive(Debug, Default)]
pub(super) struct Lines(pub Vec<Line>);

/// Why a standby could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum StandbyError {
    /// Its process.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Its channel.
    #[error("talking to the standby: {0}")]
    Channel(#[from] std::io::Error),
    /// It did not answer in time.
    #[error("the standby did not import its modules within {PATIENCE:?}")]
    Slow,
    /// It has ended.
    #[error("the standby ended while it imported")]
    Ended,
    /// An import has failed.
    #[error("the standby could not import {0}")]
    Import(String),
}

impl Standbys {
    /// Memory of all that wait, in bytes.
    pub fn bytes(&self) -> u64 {
        let lines = lock(&self.0);
        let ready = lines.0.iter().flat_map(|line| &line.ready);
        ready.map(|one| one.worker.sandbox.group().memory()).sum()
    }

    /// Whether one is being made.
    pub fn is_making(&self) -> bool {
        lock(&self.0).0.iter().any(|line| line.is_making)
    }
}

impl Lines {
    /// Counts a start of a function that standbys are for.
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

    /// Takes in what was made; it is dropped where all were evicted meanwhile.
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
    /// What a function would have seen otherwise than a standby has while it imported.
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

    /// Whether nobody has needed it for long.
    fn is_over(&self, now: Instant) -> bool {
        !self.is_making && self.demand.spares(now, 1) == 0
    }
}
