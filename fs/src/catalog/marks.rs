//! Marks that a change leaves for whatever comes after it: views that are stale, what is reached again,
//! and the generation of names.

use rusqlite::{Connection, Transaction};

use crate::id::ObjectId;

/// Marks all views that have an object as stale.
const STALE: &str = "UPDATE views SET stale = 1 WHERE digest IN (
    SELECT p.view FROM parts p JOIN files f ON f.distribution = p.distribution WHERE f.object IN
    (SELECT value FROM json_each(?)))";

/// Takes note that a view is reached, and what is from it: what is left next is out of reach since then.
pub(super) fn reach(transaction: &Transaction<'_>, view: &str) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE distributions SET unreached = NULL WHERE unreached IS NOT NULL
         AND id IN (SELECT distribution FROM parts WHERE view = ?)",
        [view],
    )?;
    transaction.execute(
        "UPDATE views SET unreached = NULL WHERE unreached IS NOT NULL
         AND (digest = ?1 OR digest IN (SELECT 'd' || d.digest FROM parts p
              JOIN distributions d ON d.id = p.distribution WHERE p.view = ?1))",
        [view],
    )?;
    Ok(())
}

/// Marks the views that have objects as stale.
pub(super) fn make_stale(
    transaction: &Transaction<'_>,
    objects: impl Iterator<Item = ObjectId>,
) -> rusqlite::Result<()> {
    let list = objects.map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    transaction.execute(STALE, [format!("[{list}]")])?;
    Ok(())
}

/// Marks the names of environments as changed.
pub(super) fn raise_generation(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE counters SET value = value + 1 WHERE name = 'generation'", [])?;
    Ok(())
}
