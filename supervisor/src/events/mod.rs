//! Asynchronous events: accepted when they are on disk, carried out beside what clients wait for,
//! again where a function fails, and kept as dead letters where it fails too often.
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
//! `store` has them on disk, `hidden` encrypts what is in them, and each arrow is a transaction of it; `policy` decides, `schedule` says
//! when functions run by themselves. Who acts is the supervisor.

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

/// Most events that are told at once.
const MAX_LISTED: i64 = 1000;

/// Why an event could not be accepted, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The database.
    #[error("the events in {}: {error}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rusqlite::Error,
    },
    /// The encryption of what is in it.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// Its file.
    #[error("letting nobody else read the events in {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It was written by a later version.
    #[error(
        "the events in {} have schema {found}, this program knows {known}; use the newer program",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Too many wait.
    #[error(
        "{} events of {function}, or {} MiB of them, are waiting already; try again later",
        store::MAX_PENDING,
        store::MAX_PENDING_BYTES >> 20
    )]
    Full {
        /// The function.
        function: String,
    },
    /// There is none of that number.
    #[error("there is no event {0}: it is done or never was; `pipsqueak events ls` lists others")]
    Unknown(String),
    /// It is not in a state for that.
    #[error("event {id} is {state} and cannot be {what}")]
    State {
        /// Its number.
        id: String,
        /// Its state.
        state: &'static str,
        /// What was asked for.
        what: &'static str,
    },
    /// The work was cut off.
    #[error("the events: {0}")]
    Cut(tokio::task::JoinError),
}

/// All events.
#[derive(Debug)]
pub struct Events {
    store: Arc<Store>,
    /// Wakes who carries them out.
    news: Notify,
    /// Wakes who looks at schedules.
    rescheduled: Notify,
}

impl Events {
    /// Opens the database at `path`, made where it is not there. What was running is pending again;
    /// what belongs to other functions than these is removed. What is not encrypted as the keys say is stored
    /// anew.
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

    /// Events that are not done, the oldest first, but not more than can be told; and how many there
    /// are.
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

    /// Takes the pending event that has been due for longest, but for those of functions that are
    /// `busy`.
    pub async fn claim(&self, busy: Vec<String>) -> Result<Option<Running>, EventsError> {
        self.with(move |store| store.claim(&busy)).await
    }

    /// When the next pending event is due, in milliseconds since 1970, but for those of functions that
    /// are `busy`.
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

    /// Tells who waits for news.
    pub fn tell(&self) {
        self.news.notify_one();
    }

    /// Waits until schedules may have changed.
    pub async fn rescheduled(&self) {
        self.rescheduled.notified().await;
    }

    /// How many there are.
    pub async fn counts(&self) -> Result<EventCounts, EventsError> {
        self.with(Store::counts).await
    }

    /// Has schedules looked at again: they may have changed.
    pub fn reschedule(&self) {
        self.rescheduled.notify_one();
    }

    /// Does something with the store, where it holds nobody up.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, EventsError> + Send + 'static,
    ) -> Result<T, EventsError> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.map_err(EventsError::Cut)?
    }
}
