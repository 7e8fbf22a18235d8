//! Objects and segments.

use std::collections::{HashMap, HashSet};

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Catalog, CatalogError};
use crate::id::{Digest, ObjectId, SegmentId};
use crate::store::Location;
use crate::store::pack::SealedSegment;
use crate::store::segments::Segments;

/// An object that is being stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewObject {
    /// Digest of the content.
    pub digest: Digest,
    /// Location of the content.
    pub location: Location,
}

impl NewObject {
    /// The objects of a sealed segment, whose digests are in the order of their locations.
    pub fn all(digests: impl IntoIterator<Item = Digest>, sealed: &SealedSegment) -> Vec<Self> {
        let objects = digests.into_iter().zip(&sealed.locations);
        objects.map(|(digest, &location)| Self { digest, location }).collect()
    }
}

impl Catalog {
    /// Takes the number of a new segment, which is not sealed yet.
    pub fn begin_segment(&self) -> Result<SegmentId, CatalogError> {
        self.write(|transaction| {
            transaction.execute("INSERT INTO segments (bytes) VALUES (0)", [])?;
            Ok(SegmentId::try_from(transaction.last_insert_rowid()).unwrap_or(SegmentId::MAX))
        })
    }

    /// Forgets segments that were never sealed.
    pub fn forget_unsealed(&self) -> Result<(), CatalogError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM segments WHERE bytes = 0", [])?;
            Ok(())
        })
    }

    /// A segment's objects in the order of their places, with the digests of their content.
    pub fn objects_in(
        &self,
        segment: SegmentId,
    ) -> Result<Vec<(ObjectId, Location, Digest)>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT id, position, size, digest FROM objects WHERE segment = ?
                 ORDER BY position",
            )?;
            let rows = statement.query_map([segment], |row| {
                let location = Location {
                    segment,
                    position: row.get::<_, i64>(1)?.cast_unsigned(),
                    size: row.get::<_, i64>(2)?.cast_unsigned(),
                };
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), location, Digest(row.get(3)?)))
            })?;
            rows.collect()
        })
    }

    /// Segments that were sealed.
    pub fn sealed_segments(&self) -> Result<HashSet<SegmentId>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT id FROM segments WHERE bytes > 0")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })
    }

    /// Digest of a sealed segment; `None` if an earlier version has sealed it.
    #[cfg(test)]
    pub fn segment_digest(&self, segment: SegmentId) -> Result<Option<Digest>, CatalogError> {
        self.read(|connection| {
            let question = "SELECT digest FROM segments WHERE id = ?";
            let digest = connection.query_row(question, [segment], |row| row.get(0))?;
            Ok(Option::map(digest, Digest))
        })
    }

    /// Digests of all objects that can be read: of a quarantined one, good bytes are taken in again.
    pub fn sound_objects(&self) -> Result<HashSet<Digest>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT digest FROM objects WHERE id NOT IN (SELECT object FROM damage)",
            )?;
            let rows = statement.query_map([], |row| row.get(0).map(Digest))?;
            rows.collect()
        })
    }

    /// Locations of the objects of some distributions.
    pub fn locations(
        &self,
        distributions: &[i64],
    ) -> Result<HashMap<ObjectId, Location>, CatalogError> {
        self.read(|connection| {
            let mut locations = HashMap::new();
            let mut statement = connection.prepare(
                "SELECT o.id, o.segment, o.position, o.size FROM files f
                 JOIN objects o ON o.id = f.object WHERE f.distribution = ?",
            )?;
            for distribution in distributions {
                let mut rows = statement.query([distribution])?;
                while let Some(row) = rows.next()? {
                    let location = Location {
                        segment: row.get(1)?,
                        position: row.get::<_, i64>(2)?.cast_unsigned(),
                        size: row.get::<_, i64>(3)?.cast_unsigned(),
                    };
                    locations.insert(row.get::<_, i64>(0)?.cast_unsigned(), location);
                }
            }
            Ok(locations)
        })
    }
}

/// Enters a sealed segment's objects. One that was quarantined is there from now on, and is so no more.
pub fn insert(
    transaction: &Transaction<'_>,
    sealed: &SealedSegment,
    objects: &[NewObject],
) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE segments SET bytes = ?, digest = ? WHERE id = ?",
        params![sealed.bytes.cast_signed(), sealed.digest.0, sealed.id],
    )?;
    let mut statement = transaction.prepare(
        "INSERT INTO objects (digest, size, segment, position) VALUES (?, ?, ?, ?)
         ON CONFLICT (digest) DO UPDATE SET size = excluded.size, segment = excluded.segment,
            position = excluded.position WHERE id IN (SELECT object FROM damage)
         RETURNING id",
    )?;
    let mut mended = Vec::new();
    for NewObject { digest, location } in objects {
        let entered = statement
            .query_row(
                params![
                    digest.0,
                    location.size.cast_signed(),
                    location.segment,
                    location.position.cast_signed(),
                ],
                |row| row.get::<_, i64>(0),
            )
            .optional()?;
        if let Some(id) = entered
            && transaction.execute("DELETE FROM damage WHERE object = ?", [id])? > 0
        {
            mended.push(id.cast_unsigned());
        }
    }
    super::marks::make_stale(transaction, mended.into_iter())
}

/// Passes on how entering a sealed segment has ended. On a disk that is full, a segment that
/// was not entered is in the way; after other failures the next start knows whether it was.
pub fn remove_unless_entered(
    segments: &dyn Segments,
    id: SegmentId,
    entered: Result<(), CatalogError>,
) -> Result<(), CatalogError> {
    if entered.as_ref().is_err_and(CatalogError::is_full) {
        let _ = segments.remove(&[id]);
    }
    entered
}

/// The number of the object with a digest.
pub fn find(transaction: &Transaction<'_>, digest: Digest) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached("SELECT id FROM objects WHERE digest = ?")?
        .query_row([digest.0], |row| row.get(0))
        .optional()
}
