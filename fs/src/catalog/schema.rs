//! The tables, and how older ones become them.

use rusqlite::Connection;

/// Statements that make each version from the one before; the first from nothing.
const MIGRATIONS: [&str; 9] =
    [STORED, CARE, REQUIREMENTS, TRACES, LEARNED, OWNERS, COPIES, ARCHIVES, SEGMENTS];

/// Tables of what is stored.
const STORED: &str = "
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
";

/// Tables of what must stay, what is to go, and what is damaged. Times are in milliseconds: since 1970
/// when they were the machine's, and of the store's own clock later.
const CARE: &str = "
    CREATE TABLE parts (                -- the distributions that a view is made of
        view TEXT NOT NULL REFERENCES views ON DELETE CASCADE,
        distribution INTEGER NOT NULL REFERENCES distributions,
        PRIMARY KEY (view, distribution)
    ) WITHOUT ROWID;
    ALTER TABLE views ADD COLUMN interpreter TEXT;  -- JSON; NULL where it links to none
    ALTER TABLE views ADD COLUMN first_node INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE views ADD COLUMN nodes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE views ADD COLUMN stale INTEGER NOT NULL DEFAULT 1;  -- its index is to be written
    -- Since when nothing has reached it; NULL as long as something does.
    ALTER TABLE environments ADD COLUMN unreached INTEGER;
    ALTER TABLE views ADD COLUMN unreached INTEGER;
    ALTER TABLE distributions ADD COLUMN unreached INTEGER;
    CREATE TABLE pins (
        name TEXT PRIMARY KEY,
        view TEXT NOT NULL REFERENCES views
    ) WITHOUT ROWID;
    CREATE TABLE leases (               -- of those who outlive the supervisor
        holder TEXT PRIMARY KEY,
        view TEXT NOT NULL REFERENCES views
    ) WITHOUT ROWID;
    CREATE TABLE damage (               -- never read again until it is repaired
        object INTEGER PRIMARY KEY REFERENCES objects ON DELETE CASCADE,
        reason TEXT NOT NULL
    );
";

/// Requirements as JSON, where they were the text of a requirements file.
const REQUIREMENTS: &str = "
    UPDATE environments SET requirements = json_object('listed', json_object(
        'requirements', json_array(requirements), 'constraints', json_array()));
";

/// Traces of imports; indexes tell of them, and are to be written anew.
const TRACES: &str = "
    CREATE TABLE traces (
        distribution INTEGER PRIMARY KEY REFERENCES distributions ON DELETE CASCADE,
        trace BLOB NOT NULL
    );
    UPDATE views SET stale = 1;
";

/// Texts that the supervisor has learned.
const LEARNED: &str = "
    CREATE TABLE learned (
        name TEXT PRIMARY KEY,
        text TEXT NOT NULL
    ) WITHOUT ROWID;
";

/// Owners of environments, which their names told before. The store's own clock goes on from the
/// machine's, by which times were written down; what was to come by that is now.
const OWNERS: &str = "
    ALTER TABLE environments ADD COLUMN owner TEXT NOT NULL DEFAULT 'user';  -- or 'functions'
    UPDATE environments SET owner = 'functions' WHERE length(name) = 29 AND name GLOB
        'requirements-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]*'
        AND substr(name, 14) NOT GLOB '*[^0-9a-f]*';
    UPDATE views SET stale = 1;  -- indexes have a new version
    INSERT INTO counters VALUES ('clock', CAST(strftime('%s', 'now') AS INTEGER) * 1000);
    UPDATE environments SET unreached = min(unreached,
        (SELECT value FROM counters WHERE name = 'clock'));
    UPDATE views SET unreached = min(unreached,
        (SELECT value FROM counters WHERE name = 'clock'));
    UPDATE distributions SET unreached = min(unreached,
        (SELECT value FROM counters WHERE name = 'clock'));
";

/// Copies of libraries, which indexes tell by paths: indexes are to be written anew.
const COPIES: &str = "
    UPDATE views SET stale = 1;
";

/// Archives that distributions were unpacked from, each by itself. What has none was installed together with
/// others: it stays as long as an environment has it, and is not taken for another.
const ARCHIVES: &str = "
    ALTER TABLE distributions ADD COLUMN archive TEXT;  -- its digest, 'algorithm:digest'
";

/// Digests by which segments are known beyond this machine.
const SEGMENTS: &str = "
    ALTER TABLE segments ADD COLUMN digest BLOB;  -- of all its bytes; NULL in what is older
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables and columns of a database, as it says them.
    fn schema(connection: &Connection) -> Vec<String> {
        let question = "SELECT m.name || '.' || c.name || ' ' || c.type FROM sqlite_master m
             JOIN pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1";
        let mut statement = connection.prepare(question).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn a_catalog_of_any_earlier_version_becomes_one_of_this() {
        let new = Connection::open_in_memory().unwrap();
        migrate(&new, 0).unwrap();
        for earlier in 1..VERSION {
            let old = Connection::open_in_memory().unwrap();
            for migration in &MIGRATIONS[..usize::try_from(earlier).unwrap()] {
                old.execute_batch(migration).unwrap();
            }
            old.execute_batch("INSERT INTO segments (bytes) VALUES (7)").unwrap();
            migrate(&old, earlier).unwrap();
            assert_eq!(version(&old).unwrap(), VERSION);
            assert_eq!(schema(&old), schema(&new), "from version {earlier}");
            let bytes: i64 =
                old.query_row("SELECT bytes FROM segments", [], |row| row.get(0)).unwrap();
            assert_eq!(bytes, 7);
        }
    }
}
