//! The table of events, and the migrations from older tables.

use rusqlite::Connection;

/// Migration to each version from the one before; the first begins with nothing.
const MIGRATIONS: [&str; 1] = [EVENTS];

/// Table of events. Times are in milliseconds since 1970.
const EVENTS: &str = "
    CREATE TABLE events (
        id TEXT PRIMARY KEY,
        function TEXT NOT NULL,
        origin TEXT NOT NULL,           -- invoke, schedule
        payload TEXT NOT NULL,          -- JSON; a blob where it is encrypted
        bytes INTEGER NOT NULL,         -- of the payload
        accepted INTEGER NOT NULL,
        state TEXT NOT NULL,            -- pending, running, dead
        due INTEGER NOT NULL,           -- pending: of the next attempt; dead: since when
        attempts INTEGER NOT NULL DEFAULT 0,   -- that its function has failed
        deferrals INTEGER NOT NULL DEFAULT 0,  -- that did not come to its function, since one did
        error TEXT,                     -- JSON: why the last attempt failed; a blob where it is encrypted
        condition TEXT                  -- JSON: why it is dead
    );
    CREATE INDEX events_due ON events (state, due, function);
    CREATE INDEX events_function ON events (function, state, bytes);
";

/// Version of the schema.
pub const VERSION: i64 = MIGRATIONS.len().cast_signed() as i64;

/// The schema's version in a database; 0 in a new one.
pub fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a database of version `found` to [`VERSION`], each step all or nothing.
pub fn migrate(connection: &Connection, found: i64) -> rusqlite::Result<()> {
    for (migration, version) in MIGRATIONS.iter().zip(1..).filter(|(_, version)| *version > found) {
        connection.execute_batch(&format!(
            "BEGIN; {migration} PRAGMA user_version = {version}; COMMIT;"
        ))?;
    }
    Ok(())
}
