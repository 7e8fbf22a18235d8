//! Clients that wait for one environment: they hear the progress, and the work can be given up once the
//! last has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pipsqueak::wire::Progress;
use pipsqueak_fs::{Step, Unit};
use tokio::sync::mpsc::UnboundedSender;

use crate::sync::{Mutex, lock};

/// All clients that wait for one environment.
#[derive(Debug, Default)]
pub struct Audience {
    told: Mutex<Vec<(u64, UnboundedSender<Progress>)>>,
    is_given_up: AtomicBool,
}

impl Audience {
    /// An audience of one listener, which never leaves.
    pub fn of(progress: &UnboundedSender<Progress>) -> Arc<Self> {
        let audience = Self::default();
        audience.join(0, progress.clone());
        Arc::new(audience)
    }

    /// Adds a listener.
    pub fn join(&self, number: u64, progress: UnboundedSender<Progress>) {
        lock(&self.told).push((number, progress));
    }

    /// Removes a listener.
    pub fn leave(&self, number: u64) {
        lock(&self.told).retain(|(one, _)| *one != number);
    }

    /// Tells every listener.
    pub fn tell(&self, progress: &Progress) {
        for (_, told) in &*lock(&self.told) {
            // The listener's client may be gone.
            let _ = told.send(progress.clone());
        }
    }

    /// Ends the work soon, because nobody wants its result.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Ordering::SeqCst);
    }

    /// True if the work is to end.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::SeqCst)
    }
}

/// A step of the library, as the client is told it.
pub(super) fn told(step: Step) -> Progress {
    let Step { step, done, total, unit } = step;
    Progress { step, done, total, bytes: unit == Unit::Bytes }
}
