//! Snapshots of the catalog: all that may stay or go at one moment, as plain data.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::leases::ViewReference;
use super::{Catalog, CatalogError};
use crate::id::{ObjectId, SegmentId};
use crate::store::Location;

/// A moment of the catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Environments, by name.
    pub environments: BTreeMap<String, EnvironmentRow>,
    /// Views, by digest.
    pub views: BTreeMap<String, ViewRow>,
    /// Distributions, by number.
    pub distributions: BTreeMap<i64, DistributionRow>,
    /// Locations of objects, by number.
    pub objects: HashMap<ObjectId, Location>,
    /// Lengths of sealed segments in bytes, by number.
    pub segments: BTreeMap<SegmentId, u64>,
    /// Pinned names and the views that they keep.
    pub pins: Vec<ViewReference>,
    /// Holders of leases and the views that they keep.
    pub leases: Vec<ViewReference>,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentRow {
    /// Digest of its view.
    pub view: String,
    /// Distributions.
    pub members: Vec<i64>,
    /// Since when nothing has reached it, in milliseconds of the store's clock.
    pub unreached: Option<u64>,
}

/// A view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRow {
    /// The distributions that it is made of.
    pub parts: Vec<i64>,
    /// Number of its root in the mount.
    pub first_node: u64,
    /// Number of nodes.
    pub nodes: u64,
    /// Since when nothing has reached it, in milliseconds of the store's clock.
    pub unreached: Option<u64>,
}

/// A distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistributionRow {
    /// Digest of name, version and the lock's hashes.
    pub artifact: String,
    /// Digest of its archive, `algorithm:digest`, where it is of one.
    pub archive: Option<String>,
    /// Cache tag and platform that it was installed for.
    pub interpreter: String,
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Digest of its files.
    pub digest: String,
    /// The object of each file that is not empty, in the order of their paths.
    pub objects: Vec<ObjectId>,
    /// Since when nothing has reached it, in milliseconds of the store's clock.
    pub unreached: Option<u64>,
}

impl Catalog {
    /// The catalog at this moment.
    pub fn snapshot(&self) -> Result<Snapshot, CatalogError> {
        self.read(|connection| {
            let mut snapshot = Snapshot::default();
            read_environments(connection, &mut snapshot)?;
            read_views(connection, &mut snapshot)?;
            read_distributions(connection, &mut snapshot)?;
            read_objects(connection, &mut snapshot)?;
            snapshot.pins = super::leases::all(connection, "SELECT name, view FROM pins")?;
            snapshot.leases = super::leases::all(connection, "SELECT holder, view FROM leases")?;
            Ok(snapshot)
        })
    }
}

fn read_environments(connection: &Connection, snapshot: &mut Snapshot) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT name, view, unreached FROM environments")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let environment =
            EnvironmentRow { view: row.get(1)?, members: Vec::new(), unreached: time(row, 2)? };
        snapshot.environments.insert(row.get(0)?, environment);
    }
    let mut statement = connection.prepare("SELECT environment, distribution FROM members")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(environment) = snapshot.environments.get_mut(&row.get::<_, String>(0)?) {
            environment.members.push(row.get(1)?);
        }
    }
    Ok(())
}

fn read_views(connection: &Connection, snapshot: &mut Snapshot) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare("SELECT digest, first_node, nodes, unreached FROM views")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let view = ViewRow {
            parts: Vec::new(),
            first_node: row.get::<_, i64>(1)?.cast_unsigned(),
            nodes: row.get::<_, i64>(2)?.cast_unsigned(),
            unreached: time(row, 3)?,
        };
        snapshot.views.insert(row.get(0)?, view);
    }
    let mut statement = connection.prepare("SELECT view, distribution FROM parts")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(view) = snapshot.views.get_mut(&row.get::<_, String>(0)?) {
            view.parts.push(row.get(1)?);
        }
    }
    Ok(())
}

fn read_distributions(connection: &Connection, snapshot: &mut Snapshot) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "SELECT id, artifact, interpreter, name, version, digest, unreached, archive
         FROM distributions",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let distribution = DistributionRow {
            artifact: row.get(1)?,
            interpreter: row.get(2)?,
            name: row.get(3)?,
            version: row.get(4)?,
            digest: row.get(5)?,
            objects: Vec::new(),
            unreached: time(row, 6)?,
            archive: row.get(7)?,
        };
        snapshot.distributions.insert(row.get(0)?, distribution);
    }
    let mut statement =
        connection.prepare("SELECT distribution, object FROM files WHERE object IS NOT NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(distribution) = snapshot.distributions.get_mut(&row.get::<_, i64>(0)?) {
            distribution.objects.push(row.get::<_, i64>(1)?.cast_unsigned());
        }
    }
    Ok(())
}

fn read_objects(connection: &Connection, snapshot: &mut Snapshot) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT id, bytes FROM segments WHERE bytes > 0")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        snapshot.segments.insert(row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned());
    }
    let mut statement = connection.prepare("SELECT id, segment, position, size FROM objects")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let location = Location {
            segment: row.get(1)?,
            position: row.get::<_, i64>(2)?.cast_unsigned(),
            size: row.get::<_, i64>(3)?.cast_unsigned(),
        };
        snapshot.objects.insert(row.get::<_, i64>(0)?.cast_unsigned(), location);
    }
    Ok(())
}

fn time(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
}
