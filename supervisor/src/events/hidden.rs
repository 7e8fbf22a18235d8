//! Payloads and errors of events, encrypted in the database if there is a key.

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Row, params};

use crate::sealed::{Keys, SealedError};

/// `application_id` of a database that has nothing, freed pages included, which the current key does
/// not encrypt.
const CLEAN: i64 = 0x5051_5331;

/// A column whose content is encrypted.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// Payload of an event.
    Payload,
    /// Error of the last attempt.
    Error,
}

impl Column {
    fn place(self, id: &str) -> String {
        match self {
            Self::Payload => format!("the payload of event {id}"),
            Self::Error => format!("the error of event {id}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Payload => "payload",
            Self::Error => "error",
        }
    }
}

/// The form in which an event's text is stored: as a text, or encrypted as a blob.
pub fn seal(
    keys: &Keys,
    column: Column,
    id: &str,
    text: &str,
) -> rusqlite::Result<rusqlite::types::Value> {
    if !keys.is_sealing() {
        return Ok(text.to_owned().into());
    }
    Ok(keys.seal(&column.place(id), text.as_bytes()).map_err(of_sealed)?.into())
}

/// Text of an event, opened from a row's column; `None` if the column is empty.
pub fn open(
    keys: &Keys,
    column: Column,
    id: &str,
    (row, index): (&Row<'_>, usize),
) -> rusqlite::Result<Option<String>> {
    let stored = match row.get_ref(index)? {
        ValueRef::Null => return Ok(None),
        other => other.as_bytes().map_err(|error| of_column(index, error))?,
    };
    let opened = keys.open(&column.place(id), stored).map_err(of_sealed)?;
    String::from_utf8(opened.content).map(Some).map_err(|error| of_column(index, error))
}

/// Stores all texts as the keys say. Afterwards no page of the file has an earlier form.
pub fn renew(connection: &mut Connection, keys: &Keys) -> rusqlite::Result<()> {
    connection.pragma_update(None, "secure_delete", keys.is_sealing())?;
    let is_clean =
        connection.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0))? == CLEAN;
    let transaction = connection.transaction()?;
    // Without a key, the query finds encrypted texts by their type and reads none.
    let ids: Vec<String> = transaction
        .prepare(
            "SELECT id FROM events WHERE CASE WHEN ?1 IS NULL
               THEN typeof(payload) = 'blob' OR typeof(error) = 'blob'
               ELSE substr(CAST(payload AS BLOB), 1, length(?1)) IS NOT ?1
                 OR error IS NOT NULL AND substr(CAST(error AS BLOB), 1, length(?1)) IS NOT ?1
             END",
        )?
        .query_map([keys.head()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut is_changed = false;
    for id in &ids {
        for column in [Column::Payload, Column::Error] {
            is_changed |= renew_one(&transaction, keys, column, id)?;
        }
    }
    transaction.commit()?;
    if keys.is_sealing() && (is_changed || !is_clean) {
        // Free pages have what was deleted before there was a key, and the log has what was replaced.
        connection.execute_batch("VACUUM")?;
        truncate_log(connection)?;
        connection.pragma_update(None, "application_id", CLEAN)?;
    } else if !keys.is_sealing() && is_clean {
        connection.pragma_update(None, "application_id", 0)?;
    }
    if keys.is_sealing() { truncate_log(connection) } else { Ok(()) }
}

fn renew_one(
    connection: &Connection,
    keys: &Keys,
    column: Column,
    id: &str,
) -> rusqlite::Result<bool> {
    let name = column.name();
    let stored =
        connection.query_row(&format!("SELECT {name} FROM events WHERE id = ?1"), [id], |row| {
            match row.get_ref(0)? {
                ValueRef::Null => Ok(None),
                other => {
                    let stored = other.as_bytes().map_err(|error| of_column(0, error))?;
                    keys.open(&column.place(id), stored).map(Some).map_err(of_sealed)
                }
            }
        })?;
    let Some(outdated) = stored.filter(|opened| opened.is_outdated) else { return Ok(false) };
    let text = String::from_utf8(outdated.content).map_err(|error| of_column(0, error))?;
    let sealed = seal(keys, column, id, &text)?;
    connection
        .execute(&format!("UPDATE events SET {name} = ?2 WHERE id = ?1"), params![id, sealed])?;
    Ok(true)
}

fn truncate_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// The keys' error, if that caused an error of the database.
pub fn reason(error: &rusqlite::Error) -> Option<&SealedError> {
    match error {
        rusqlite::Error::FromSqlConversionFailure(_, _, reason) => reason.downcast_ref(),
        _ => None,
    }
}

fn of_sealed(error: SealedError) -> rusqlite::Error {
    of_column(0, error)
}

fn of_column(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
}
