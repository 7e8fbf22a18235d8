//! Events on disk. Each change is one transaction, which is on disk when the method returns.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use pipsqueak::wire::{
    EventCondition, EventCounts, EventInfo, EventOrigin, EventState, FunctionError,
};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::value::RawValue;

use super::hidden::{self, Column};
use super::policy::{Past, Verdict};
use super::{EventsError, schema};
use crate::sealed::Keys;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::wall_clock::{now_ms, of_ms};

/// Most events of one function that may wait.
pub(super) const MAX_PENDING: i64 = 10_000;
/// Most bytes of payloads of one function's waiting events.
pub(super) const MAX_PENDING_BYTES: i64 = 256 << 20;
/// Most dead letters of one function that are kept; the oldest goes for a new one.
const MAX_DEAD: i64 = 100;

/// The open database.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
    keys: Arc<Keys>,
}

/// An event that is being carried out. It must be settled once.
#[derive(Debug)]
pub struct Running {
    /// The event's number.
    pub id: String,
    /// The function.
    pub function: String,
    /// Payload for the function: JSON.
    pub payload: String,
    /// Past of the event, which decides its future.
    pub past: Past,
}

impl Store {
    pub(super) fn open(
        path: PathBuf,
        functions: &BTreeSet<String>,
        keys: Arc<Keys>,
    ) -> Result<Self, EventsError> {
        pipsqueak_fs::durable::make_private(&path)
            .map_err(|error| EventsError::File { path: path.clone(), error })?;
        let opened = Connection::open(&path).and_then(|connection| {
            connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
            let found = schema::version(&connection)?;
            Ok((connection, found))
        });
        let (connection, found) =
            opened.map_err(|error| EventsError::Database { path: path.clone(), error })?;
        if found > schema::VERSION {
            return Err(EventsError::Newer { path, found, known: schema::VERSION });
        }
        let store = Self { path, connection: Mutex::new(connection), keys };
        let names = serde_json::json!(functions).to_string();
        schema::migrate(&store.lock(), found).map_err(|error| store.failed(error))?;
        store.write(|transaction| {
            transaction.execute(
                "DELETE FROM events WHERE function NOT IN (SELECT value FROM json_each(?1))",
                [names],
            )?;
            // The process that ran them has ended.
            transaction.execute(
                "UPDATE events SET state = 'pending', due = ?1 WHERE state = 'running'",
                [now_ms()],
            )
        })?;
        hidden::renew(&mut store.lock(), &store.keys).map_err(|error| store.failed(error))?;
        Ok(store)
    }

    /// Enters a new event, due at once.
    pub(super) fn accept(
        &self,
        id: &str,
        function: &str,
        origin: EventOrigin,
        payload: &str,
    ) -> Result<(), EventsError> {
        let length = payload.len() as u64;
        let accepted = self.write(|transaction| {
            let (waiting, bytes): (i64, i64) = transaction.query_row(
                "SELECT count(*), coalesce(sum(bytes), 0) FROM events
                 WHERE function = ?1 AND state = 'pending'",
                [function],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            if waiting >= MAX_PENDING || bytes.saturating_add_unsigned(length) > MAX_PENDING_BYTES {
                return Ok(false);
            }
            transaction.execute(
                "INSERT INTO events (id, function, origin, payload, bytes, accepted, state, due)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending', ?6)",
                params![
                    id,
                    function,
                    origin_text(origin),
                    hidden::seal(&self.keys, Column::Payload, id, payload)?,
                    length.cast_signed(),
                    now_ms()
                ],
            )?;
            Ok(true)
        })?;
        if accepted { Ok(()) } else { Err(EventsError::Full { function: function.to_owned() }) }
    }

    /// Takes the pending event that has been due for longest. Events of `busy` functions do not count.
    pub(super) fn claim(&self, busy: &[String]) -> Result<Option<Running>, EventsError> {
        let busy = serde_json::json!(busy).to_string();
        self.write(|transaction| {
            let found = transaction.query_row(
                "SELECT id, function, payload, accepted, attempts, deferrals FROM events
                 WHERE state = 'pending' AND due <= ?1
                   AND function NOT IN (SELECT value FROM json_each(?2))
                 ORDER BY due LIMIT 1",
                params![now_ms(), busy],
                |row| {
                    let [accepted, attempts, deferrals] = [3, 4, 5];
                    let id: String = row.get(0)?;
                    let payload = hidden::open(&self.keys, Column::Payload, &id, (row, 2))?;
                    Ok(Running {
                        id,
                        function: row.get(1)?,
                        payload: payload.unwrap_or_default(),
                        past: Past {
                            accepted: row.get(accepted)?,
                            attempts: row.get(attempts)?,
                            deferrals: row.get(deferrals)?,
                        },
                    })
                },
            );
            let found = found.optional()?;
            if let Some(running) = &found {
                transaction
                    .execute("UPDATE events SET state = 'running' WHERE id = ?1", [&running.id])?;
            }
            Ok(found)
        })
    }

    /// Time at which the next pending event is due. Events of `busy` functions do not count.
    pub(super) fn next_due(&self, busy: &[String]) -> Result<Option<i64>, EventsError> {
        let busy = serde_json::json!(busy).to_string();
        let found = self.lock().query_row(
            "SELECT min(due) FROM events WHERE state = 'pending'
               AND function NOT IN (SELECT value FROM json_each(?1))",
            [busy],
            |row| row.get(0),
        );
        found.map_err(|error| self.failed(error))
    }

    /// Writes down what follows an attempt. An event that was removed meanwhile stays removed.
    pub(super) fn settle(&self, running: &Running, verdict: &Verdict) -> Result<(), EventsError> {
        let id = &running.id;
        self.write(|transaction| match verdict {
            Verdict::Done => transaction
                .execute("DELETE FROM events WHERE id = ?1 AND state = 'running'", [id])
                .map(drop),
            Verdict::Again { due, attempts, deferrals, error } => transaction
                .execute(
                    "UPDATE events SET state = 'pending', due = ?2, attempts = ?3, deferrals = ?4,
                       error = ?5 WHERE id = ?1 AND state = 'running'",
                    params![id, due, attempts, deferrals, self.sealed_error(id, Some(error))?],
                )
                .map(drop),
            Verdict::Dead { condition, attempts, error } => {
                transaction.execute(
                    "UPDATE events SET state = 'dead', due = ?2, attempts = ?3,
                       error = coalesce(?4, error), condition = ?5
                     WHERE id = ?1 AND state = 'running'",
                    params![
                        id,
                        now_ms(),
                        attempts,
                        self.sealed_error(id, error.as_ref())?,
                        json(condition)
                    ],
                )?;
                prune(transaction, &running.function)
            }
        })
    }

    /// Events that are not done, the oldest first, and the number of all. Payloads and stack traces are
    /// left out, so that a listing can be long.
    pub(super) fn list(
        &self,
        function: Option<&str>,
        dead: bool,
        most: i64,
    ) -> Result<(Vec<EventInfo>, u64), EventsError> {
        const WHERE: &str = "WHERE (?1 IS NULL OR function = ?1) AND (NOT ?2 OR state = 'dead')";
        let connection = self.lock();
        let listed = || {
            let mut statement = connection.prepare(&format!(
                "SELECT id, function, origin, state, accepted, attempts, due, error, condition
                 FROM events {WHERE} ORDER BY accepted, id LIMIT ?3"
            ))?;
            let events = statement
                .query_map(params![function, dead, most], |row| Ok(brief(self.info(row)?)))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let total: i64 = connection.query_row(
                &format!("SELECT count(*) FROM events {WHERE}"),
                params![function, dead],
                |row| row.get(0),
            )?;
            Ok((events, total.cast_unsigned()))
        };
        listed().map_err(|error| self.failed(error))
    }

    /// One event, with its payload.
    pub(super) fn show(&self, id: &str) -> Result<EventInfo, EventsError> {
        let found = self.lock().query_row(
            "SELECT id, function, origin, state, accepted, attempts, due, error, condition, payload
             FROM events WHERE id = ?1",
            [id],
            |row| {
                let payload = hidden::open(&self.keys, Column::Payload, id, (row, 9))?;
                let payload = payload.and_then(|payload| RawValue::from_string(payload).ok());
                Ok(EventInfo { payload, ..self.info(row)? })
            },
        );
        let found = found.optional().map_err(|error| self.failed(error))?;
        found.ok_or_else(|| EventsError::Unknown(id.to_owned()))
    }

    /// Makes a dead letter pending, as if it were new.
    pub(super) fn retry(&self, id: &str) -> Result<(), EventsError> {
        let retried = self.write(|transaction| {
            transaction.execute(
                "UPDATE events SET state = 'pending', accepted = ?2, due = ?2, attempts = 0,
                   deferrals = 0, condition = NULL WHERE id = ?1 AND state = 'dead'",
                params![id, now_ms()],
            )
        })?;
        if retried == 0 { Err(self.in_wrong_state(id, "tried again by hand")) } else { Ok(()) }
    }

    /// Removes an event that does not run.
    pub(super) fn remove(&self, id: &str) -> Result<(), EventsError> {
        let removed = self.write(|transaction| {
            transaction.execute("DELETE FROM events WHERE id = ?1 AND state != 'running'", [id])
        })?;
        if removed == 0 { Err(self.in_wrong_state(id, "removed")) } else { Ok(()) }
    }

    /// Removes all events of a function.
    pub(super) fn forget(&self, function: &str) -> Result<(), EventsError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM events WHERE function = ?1", [function]).map(drop)
        })
    }

    /// Numbers of events by state.
    pub(super) fn counts(&self) -> Result<EventCounts, EventsError> {
        let count = |state: &str| {
            let sql = "SELECT count(*) FROM events WHERE state = ?1";
            self.lock().query_row(sql, [state], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
        };
        let counted = || {
            Ok(EventCounts {
                pending: count("pending")?,
                running: count("running")?,
                dead: count("dead")?,
            })
        };
        counted().map_err(|error| self.failed(error))
    }

    fn in_wrong_state(&self, id: &str, what: &'static str) -> EventsError {
        match self.show(id) {
            Ok(event) => {
                let state = state_text(event.state);
                EventsError::State { id: id.to_owned(), state, what }
            }
            Err(error) => error,
        }
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, EventsError> {
        let mut connection = self.lock();
        let written = connection.transaction().and_then(|transaction| {
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        written.map_err(|error| self.failed(error))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        lock(&self.connection)
    }

    fn info(&self, row: &Row<'_>) -> rusqlite::Result<EventInfo> {
        let state = match row.get::<_, String>(3)?.as_str() {
            "running" => EventState::Running,
            "dead" => EventState::Dead,
            _ => EventState::Pending,
        };
        let origin = match row.get::<_, String>(2)?.as_str() {
            "schedule" => EventOrigin::Schedule,
            _ => EventOrigin::Invoke,
        };
        let next = (state == EventState::Pending).then_some(row.get(6)?).map(of_ms);
        let id: String = row.get(0)?;
        let error = hidden::open(&self.keys, Column::Error, &id, (row, 7))?;
        Ok(EventInfo {
            id,
            function: row.get(1)?,
            origin,
            state,
            accepted: of_ms(row.get(4)?),
            attempts: row.get(5)?,
            next,
            error: error.and_then(|text| serde_json::from_str(&text).ok()),
            condition: read::<EventCondition>(row, 8)?,
            payload: None,
        })
    }

    /// The form in which an attempt's error is stored.
    fn sealed_error(
        &self,
        id: &str,
        error: Option<&FunctionError>,
    ) -> rusqlite::Result<Option<Value>> {
        let text = error.and_then(json);
        text.map(|text| hidden::seal(&self.keys, Column::Error, id, &text)).transpose()
    }

    fn failed(&self, error: rusqlite::Error) -> EventsError {
        if let Some(reason) = hidden::reason(&error) {
            return reason.clone().into();
        }
        EventsError::Database { path: self.path.clone(), error }
    }
}

/// Removes the oldest dead letters of a function if there are too many.
fn prune(transaction: &Transaction<'_>, function: &str) -> rusqlite::Result<()> {
    transaction
        .execute(
            "DELETE FROM events WHERE id IN (
               SELECT id FROM events WHERE function = ?1 AND state = 'dead'
               ORDER BY due DESC, rowid DESC LIMIT -1 OFFSET ?2)",
            params![function, MAX_DEAD],
        )
        .map(drop)
}

fn brief(mut event: EventInfo) -> EventInfo {
    if let Some(error) = &mut event.error {
        error.stack_trace.clear();
    }
    event
}

fn read<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

fn json(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}

fn origin_text(origin: EventOrigin) -> &'static str {
    match origin {
        EventOrigin::Invoke => "invoke",
        EventOrigin::Schedule => "schedule",
    }
}

fn state_text(state: EventState) -> &'static str {
    match state {
        EventState::Pending => "pending",
        EventState::Running => "running",
        EventState::Dead => "dead",
    }
}

#[cfg(test)]
mod tests;
