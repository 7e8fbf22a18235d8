//! The tables, and how older ones become them.

use rusqlite::Connection;

/// What makes each version from the one before; the first from nothing.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE segments (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        bytes INTEGER NOT NULL          -- of its file; 0 until it is sealed
    );
    CREATE TABLE objects (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- the inode number is made from it: never reused
        digest BLOB NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        segment INTEGER NOT NULL REFERENCES segments,
        position INTEGER NOT NULL       -- of its first byte in the segment's content
    );
    CREATE TABLE distributions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        artifact TEXT NOT NULL,         -- digest of name, version and the lock's hashes
        interpreter TEXT NOT NULL,      -- cache tag and platform that it was installed for
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        digest TEXT NOT NULL,           -- of its files
        modules TEXT NOT NULL,          -- JSON: top-level names that can be imported
        UNIQUE (artifact, interpreter)
    );
    CREATE TABLE files (
        distribution INTEGER NOT NULL REFERENCES distributions ON DELETE CASCADE,
        path TEXT NOT NULL,             -- from the environment's root
        executable INTEGER NOT NULL,
        object INTEGER REFERENCES objects,  -- NULL where it is empty
        PRIMARY KEY (distribution, path)
    ) WITHOUT ROWID;
    CREATE TABLE views (
        digest TEXT PRIMARY KEY,
        files INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE environments (
        name TEXT PRIMARY KEY,
        view TEXT NOT NULL REFERENCES views,
        requirements TEXT NOT NULL,
        lock TEXT NOT NULL,
        interpreter TEXT NOT NULL       -- JSON
    ) WITHOUT ROWID;
    CREATE TABLE members (
        environment TEXT NOT NULL REFERENCES environments ON DELETE CASCADE,
        distribution INTEGER NOT NULL REFERENCES distributions,
        requested INTEGER NOT NULL,
        PRIMARY KEY (environment, distribution)
    ) WITHOUT ROWID;
    CREATE TABLE counters (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO counters VALUES ('node', 1), ('generation', 1);
",
    "
    -- From the text of a requirements file to JSON.
    UPDATE environments SET requirements = json_object('listed', json_object(
        'requirements', json_array(requirements), 'constraints', json_array()));
",
];

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
