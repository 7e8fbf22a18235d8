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
//! `store` has them on disk, and each arrow is a transaction of it; `policy` decides, `carry_out`
//! acts, `schedule` says when, `clock` looks at it.

mod carry_out;
mod clock;
mod policy;
mod schedule;
mod schema;
mod store;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use pipsqueak::wire::{EventCounts, EventInfo, EventOrigin};
use tokio::sync::Notify;

use store::Store;

pub use carry_out::carry_out;
pub use clock::follow_schedules;
pub use schedule::{Schedule, ScheduleError, next_run};

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
    #[error("{} events of {function} are waiting; try again later", store::MAX_PENDING)]
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
    /// what belongs to other functions than these is removed.
    pub fn open(path: PathBuf, functions: &BTreeSet<String>) -> Result<Self, EventsError> {
        let store = Arc::new(Store::open(path, functions)?);
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
        self.news.notify_one();
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
        self.news.notify_one();
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
