//! Asynchronous events: accepted once they are on disk, run beside the invocations that clients wait
//! for, tried again if the function fails, and kept as dead letters if it fails too often.
//!
//! ```text
//!            accept                 claim             settle: done
//!  invoke ----------> pending ----------> running ------------------> forgotten
//!  schedule              ^  ^                |  settle: dead
//!                        |  +----------------+-----------------> dead
//!                        |   settle: again                         |
//!                        +-----------------------------------------+
//!                                        retry by hand
//! ```
//!
//! `store` has the events on disk, `hidden` encrypts their texts, and each arrow is a transaction of
//! `store`; `policy` decides, `schedule` tells when functions run by themselves. The supervisor acts.

mod hidden;
mod policy;
mod schedule;
mod schema;
mod store;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use pipsqueak::wire::{EventCounts, EventInfo, EventOrigin};
use tokio::sync::Notify;

use store::Store;

use crate::sealed::{Keys, SealedError};

pub use policy::{Ended, Past, Verdict, is_too_old, judge};
pub use schedule::{Schedule, ScheduleError, Timetable, next_run};
pub use store::Running;

/// Most events in one listing.
const MAX_LISTED: i64 = 1000;

/// Reason that an event could not be accepted, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The database failed.
    #[error("the events in {}: {error}", path.display())]
    Database {
        /// The database's file.
        path: PathBuf,
        /// The error of the database.
        error: rusqlite::Error,
    },
    /// The encryption of an event's text failed.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The file of the database, or its folder, failed.
    #[error("letting nobody else read the events in {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the call.
        error: io::Error,
    },
    /// A later version of this program wrote the database.
    #[error(
        "the events in {} have schema {found}, this program knows {known}; use the newer program",
        path.display()
    )]
    Newer {
        /// The database's file.
        path: PathBuf,
        /// The schema of the database.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// Too many events of a function wait.
    #[error(
        "{} events of {function}, or {} MiB of them, are waiting already; try again later",
        store::MAX_PENDING,
        store::MAX_PENDING_BYTES >> 20
    )]
    Full {
        /// The function.
        function: String,
    },
    /// No event has this number.
    #[error("there is no event {0}: it is done or never was; `pipsqueak events ls` lists others")]
    Unknown(String),
    /// The event is not in a state for the request.
    #[error("event {id} is {state} and cannot be {what}")]
    State {
        /// The event's number.
        id: String,
        /// The event's state.
        state: &'static str,
        /// The request.
        what: &'static str,
    },
    /// The blocking task was cut off.
    #[error("the events: {0}")]
    Cut(tokio::task::JoinError),
}

/// All events.
#[derive(Debug)]
pub struct Events {
    store: Arc<Store>,
    /// Wakes the task that carries events out.
    news: Notify,
    /// Wakes the task that follows schedules.
    rescheduled: Notify,
}

impl Events {
    /// Opens the database at `path`, which is made if it is absent. Events that were running are
    /// pending again; events of functions other than these are removed. Texts whose encryption is not
    /// as the keys say are stored anew.
    pub fn open(
        path: PathBuf,
        functions: &BTreeSet<String>,
        keys: Arc<Keys>,
    ) -> Result<Self, EventsError> {
        let store = Arc::new(Store::open(path, functions, keys)?);
        Ok(Self { store, news: Notify::new(), rescheduled: Notify::new() })
    }

    /// Accepts an event: when this returns, it will not be lost.
    pub async fn accept(
        &self,
        id: String,
        function: String,
        origin: EventOrigin,
        payload: String,
    ) -> Result<(), EventsError> {
        self.with(move |store| store.accept(&id, &function, origin, &payload)).await?;
        self.tell();
        Ok(())
    }

    /// Events that are not done, the oldest first, as many as fit into one listing; and the number of all.
    pub async fn list(
        &self,
        function: Option<String>,
        dead: bool,
    ) -> Result<(Vec<EventInfo>, u64), EventsError> {
        self.with(move |store| store.list(function.as_deref(), dead, MAX_LISTED)).await
    }

    /// One event, with its payload.
    pub async fn show(&self, id: String) -> Result<EventInfo, EventsError> {
        self.with(move |store| store.show(&id)).await
    }

    /// Makes a dead letter pending, as if it were new.
    pub async fn retry(&self, id: String) -> Result<(), EventsError> {
        self.with(move |store| store.retry(&id)).await?;
        self.tell();
        Ok(())
    }

    /// Removes an event that does not run.
    pub async fn remove(&self, id: String) -> Result<(), EventsError> {
        self.with(move |store| store.remove(&id)).await
    }

    /// Removes all events of a function.
    pub async fn forget(&self, function: String) -> Result<(), EventsError> {
        self.with(move |store| store.forget(&function)).await
    }

    /// Takes the pending event that has been due for longest. Events of `busy` functions do not count.
    pub async fn claim(&self, busy: Vec<String>) -> Result<Option<Running>, EventsError> {
        self.with(move |store| store.claim(&busy)).await
    }

    /// Time at which the next pending event is due, in milliseconds since 1970. Events of `busy`
    /// functions do not count.
    pub async fn next_due(&self, busy: Vec<String>) -> Result<Option<i64>, EventsError> {
        self.with(move |store| store.next_due(&busy)).await
    }

    /// Writes down what follows an attempt.
    pub async fn settle(&self, settled: Arc<(Running, Verdict)>) -> Result<(), EventsError> {
        self.with(move |store| store.settle(&settled.0, &settled.1)).await
    }

    /// Waits for events that may be due, or for room for others.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Wakes the task that waits for news.
    pub fn tell(&self) {
        self.news.notify_one();
    }

    /// Waits until schedules may have changed.
    pub async fn rescheduled(&self) {
        self.rescheduled.notified().await;
    }

    /// Numbers of events by state.
    pub async fn counts(&self) -> Result<EventCounts, EventsError> {
        self.with(Store::counts).await
    }

    /// Has the schedules read again, because they may have changed.
    pub fn reschedule(&self) {
        self.rescheduled.notify_one();
    }

    /// Runs work on the store in a thread that may block.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, EventsError> + Send + 'static,
    ) -> Result<T, EventsError> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.map_err(EventsError::Cut)?
    }
}
