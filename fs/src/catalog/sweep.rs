//! Changes of a collection, a compaction and a repair in the catalog, each in one transaction.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};

use super::objects::{self, NewObject};
use super::{Catalog, CatalogError};
use crate::id::{Digest, ObjectId, SegmentId};
use crate::store::Location;
use crate::store::pack::SealedSegment;

/// Things of the catalog, by their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Things {
    /// Names of environments.
    pub environments: BTreeSet<String>,
    /// Digests of views.
    pub views: BTreeSet<String>,
    /// Numbers of distributions.
    pub distributions: BTreeSet<i64>,
}

impl Catalog {
    /// The time that a collection has written down last, in milliseconds of the store's clock.
    pub fn time(&self) -> Result<u64, CatalogError> {
        self.read(|connection| {
            let question = "SELECT value FROM counters WHERE name = 'clock'";
            connection.query_row(question, [], |row| row.get(0)).map(i64::cast_unsigned)
        })
    }

    /// Takes note at `now` of what is lost, out of reach since then, and what is found again.
    pub fn entomb(&self, lost: &Things, found: &Things, now: u64) -> Result<(), CatalogError> {
        self.write(|transaction| {
            set_unreached(transaction, lost, Some(now))?;
            set_unreached(transaction, found, None)?;
            let statement = "UPDATE counters SET value = ? WHERE name = 'clock'";
            transaction.execute(statement, [now.cast_signed()])?;
            Ok(())
        })
    }

    /// Takes note that a view is reached, and all that it is made of.
    pub fn reach(&self, view: &str) -> Result<(), CatalogError> {
        self.write(|transaction| super::marks::reach(transaction, view))
    }

    /// Forgets things, and the objects that nothing has then.
    pub fn drop_things(
        &self,
        drop: &Things,
        objects: &BTreeSet<ObjectId>,
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            for name in &drop.environments {
                transaction.execute("DELETE FROM environments WHERE name = ?", [name])?;
            }
            for digest in &drop.views {
                transaction.execute("DELETE FROM views WHERE digest = ?", [digest])?;
            }
            // Who refers to what is looked for once for each row: not worth an index that every
            // addition would pay for.
            transaction.execute_batch(
                "CREATE INDEX members_by_distribution ON members (distribution);
                 CREATE INDEX parts_by_distribution ON parts (distribution);
                 CREATE INDEX files_by_object ON files (object);",
            )?;
            for id in &drop.distributions {
                transaction.execute("DELETE FROM distributions WHERE id = ?", [id])?;
            }
            for id in objects {
                transaction.execute("DELETE FROM objects WHERE id = ?", [id.cast_signed()])?;
            }
            transaction.execute_batch(
                "DROP INDEX members_by_distribution; DROP INDEX parts_by_distribution;
                 DROP INDEX files_by_object;",
            )?;
            if !drop.environments.is_empty() {
                super::marks::raise_generation(transaction)?;
            }
            Ok(())
        })
    }

    /// Enters a sealed segment and the objects that were moved there. Their views are stale.
    pub fn move_objects(
        &self,
        sealed: &SealedSegment,
        moved: &[(ObjectId, Location)],
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            objects::insert(transaction, sealed, &[])?;
            let mut statement = transaction
                .prepare("UPDATE objects SET segment = ?, position = ?, size = ? WHERE id = ?")?;
            for (id, Location { segment, position, size }) in moved {
                let (position, size) = (position.cast_signed(), size.cast_signed());
                statement.execute(params![segment, position, size, id.cast_signed()])?;
                transaction.execute("DELETE FROM damage WHERE object = ?", [id.cast_signed()])?;
            }
            super::marks::make_stale(transaction, moved.iter().map(|(id, _)| *id))
        })
    }

    /// Enters a sealed segment of objects that take the place of others in a distribution's files.
    /// Damaged ones that no file has any more are forgotten.
    pub fn replace_files(
        &self,
        sealed: &SealedSegment,
        new: &[NewObject],
        distribution: i64,
        files: &[(String, Digest)],
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            objects::insert(transaction, sealed, new)?;
            for (path, digest) in files {
                transaction.execute(
                    "UPDATE files SET object = (SELECT id FROM objects WHERE digest = ?)
                     WHERE distribution = ? AND path = ?",
                    params![digest.0, distribution, path],
                )?;
            }
            transaction.execute(
                "UPDATE views SET stale = 1 WHERE digest IN
                 (SELECT view FROM parts WHERE distribution = ?)",
                [distribution],
            )?;
            transaction.execute_batch(
                "CREATE INDEX files_by_object ON files (object);
                 DELETE FROM objects WHERE id IN (SELECT object FROM damage)
                 AND id NOT IN (SELECT object FROM files WHERE object IS NOT NULL);
                 DROP INDEX files_by_object;",
            )
        })
    }

    /// Segments that no object is in: their files may go, and then they are forgotten.
    pub fn empty_segments(&self) -> Result<Vec<SegmentId>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT id FROM segments WHERE bytes > 0
                 AND id NOT IN (SELECT segment FROM objects) ORDER BY id",
            )?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })
    }

    /// Forgets segments without an object.
    pub fn forget_segments(&self, segments: &[SegmentId]) -> Result<(), CatalogError> {
        self.write(|transaction| {
            for id in segments {
                transaction.execute("DELETE FROM segments WHERE id = ?", [id])?;
            }
            Ok(())
        })
    }

    /// Quarantines objects: their views are stale, and will not lead to them.
    pub fn quarantine(&self, damaged: &[(ObjectId, String)]) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let mut statement = transaction.prepare(
                "INSERT OR IGNORE INTO damage (object, reason)
                 SELECT id, ?2 FROM objects WHERE id = ?1",
            )?;
            for (id, reason) in damaged {
                statement.execute(params![id.cast_signed(), reason])?;
            }
            super::marks::make_stale(transaction, damaged.iter().map(|(id, _)| *id))
        })
    }

    /// Quarantined objects and why they are.
    pub fn quarantined(&self) -> Result<Vec<(ObjectId, String)>, CatalogError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT object, reason FROM damage ORDER BY object")?;
            let rows = statement
                .query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))?;
            rows.collect()
        })
    }
}

fn set_unreached(
    transaction: &Transaction<'_>,
    things: &Things,
    since: Option<u64>,
) -> rusqlite::Result<()> {
    let since = since.map(u64::cast_signed);
    for name in &things.environments {
        let statement = "UPDATE environments SET unreached = ? WHERE name = ?";
        transaction.execute(statement, params![since, name])?;
    }
    for digest in &things.views {
        let statement = "UPDATE views SET unreached = ? WHERE digest = ?";
        transaction.execute(statement, params![since, digest])?;
    }
    for id in &things.distributions {
        let statement = "UPDATE distributions SET unreached = ? WHERE id = ?";
        transaction.execute(statement, params![since, id])?;
    }
    Ok(())
}
