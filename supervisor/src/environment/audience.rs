//! Those for whom an environment is made: they hear how it goes, and when the last has gone it can be
//! given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pipsqueak::wire::Progress;
use pipsqueak_fs::{Step, Unit};
use tokio::sync::mpsc::UnboundedSender;

use crate::sync::{Mutex, lock};

/// All who wait for one environment.
#[derive(Debug, Default)]
pub struct Audience {
    told: Mutex<Vec<(u64, UnboundedSender<Progress>)>>,
    is_given_up: AtomicBool,
}

impl Audience {
    /// One listener for all time.
    pub fn of(progress: &UnboundedSender<Progress>) -> Arc<Self> {
        let audience = Self::default();
        audience.join(0, progress.clone());
        Arc::new(audience)
    }

    /// One more listener.
    pub fn join(&self, number: u64, progress: UnboundedSender<Progress>) {
        lock(&self.told).push((number, progress));
    }

    /// One listener less.
    pub fn leave(&self, number: u64) {
        lock(&self.told).retain(|(one, _)| *one != number);
    }

    /// Tells all.
    pub fn tell(&self, progress: &Progress) {
        for (_, told) in &*lock(&self.told) {
            // Whoever asked may be gone.
            let _ = told.send(progress.clone());
        }
    }

    /// Has the work end soon: nobody wants what it makes.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Ordering::SeqCst);
    }

    /// True if the work is to end.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::SeqCst)
    }
}

/// A step of the library's as the client is told of it.
pub(super) fn told(step: Step) -> Progress {
    let Step { step, done, total, unit } = step;
    Progress { step, done, total, bytes: unit == Unit::Bytes }
}
