//! Distributions and their files.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params};

use super::objects::{self, NewObject};
use super::{Catalog, CatalogError};
use crate::id::{Digest, ObjectId};
use crate::store::pack::SealedSegment;

/// Content of a new distribution's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileContent {
    /// Digest of the content; none if it is empty.
    pub object: Option<Digest>,
    /// True if it may be executed.
    pub executable: bool,
}

/// A file of a distribution in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredFile {
    /// Number of the content's object; none if it is empty.
    pub object: Option<ObjectId>,
    /// True if it may be executed.
    pub executable: bool,
}

/// A distribution that is being stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDistribution {
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
    pub digest: Digest,
    /// Top-level names that can be imported.
    pub modules: Vec<String>,
    /// Path from the environment's root, and what is there.
    pub files: Vec<(String, FileContent)>,
    /// Trace of its imports, if they were seen.
    pub trace: Option<Vec<u8>>,
}

/// A distribution in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDistribution {
    /// Number.
    pub id: i64,
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Digest of its files.
    pub digest: String,
    /// Top-level names that can be imported.
    pub modules: Vec<String>,
}

impl Catalog {
    /// The distribution that was installed from an artifact for an interpreter.
    pub fn distribution(
        &self,
        artifact: &str,
        interpreter: &str,
    ) -> Result<Option<StoredDistribution>, CatalogError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, name, version, digest, modules FROM distributions
                     WHERE artifact = ? AND interpreter = ?",
                )?
                .query_row([artifact, interpreter], read_distribution)
                .optional()
        })
    }

    /// Enters a sealed segment, its objects, and the distributions that have them.
    pub fn store(
        &self,
        sealed: &SealedSegment,
        new_objects: &[NewObject],
        distributions: &[NewDistribution],
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            objects::insert(transaction, sealed, new_objects)?;
            let mut insert = transaction.prepare(
                "INSERT OR IGNORE INTO distributions
                 (artifact, archive, interpreter, name, version, digest, modules)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?;
            let mut insert_file = transaction.prepare(
                "INSERT INTO files (distribution, path, executable, object) VALUES (?, ?, ?, ?)",
            )?;
            let mut insert_trace =
                transaction.prepare("INSERT INTO traces (distribution, trace) VALUES (?, ?)")?;
            for new in distributions {
                let modules = serde_json::to_string(&new.modules).unwrap_or_default();
                let inserted = insert.execute(params![
                    new.artifact,
                    new.archive,
                    new.interpreter,
                    new.name,
                    new.version,
                    new.digest.to_string(),
                    modules
                ])?;
                if inserted == 0 {
                    continue;
                }
                let id = transaction.last_insert_rowid();
                if let Some(trace) = &new.trace {
                    insert_trace.execute(params![id, trace])?;
                }
                for (path, content) in &new.files {
                    let object = match content.object {
                        None => None,
                        // An object that is missing is a constraint that fails, not an empty file.
                        Some(digest) => Some(objects::find(transaction, digest)?.unwrap_or(-1)),
                    };
                    insert_file.execute(params![id, path, content.executable, object])?;
                }
            }
            Ok(())
        })
    }

    /// A distribution's files, as they were stored, in the order of their paths.
    pub fn files(&self, distribution: i64) -> Result<Vec<(String, FileContent)>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT f.path, f.executable, o.digest
                 FROM files f LEFT JOIN objects o ON o.id = f.object
                 WHERE f.distribution = ? ORDER BY f.path",
            )?;
            let rows = statement.query_map([distribution], |row| {
                let object: Option<[u8; 32]> = row.get(2)?;
                let object = object.map(Digest);
                Ok((row.get(0)?, FileContent { object, executable: row.get(1)? }))
            })?;
            rows.collect()
        })
    }

    /// The object of each file of a distribution that is not empty, by its path.
    pub fn objects_of(&self, distribution: i64) -> Result<HashMap<String, ObjectId>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT path, object FROM files WHERE distribution = ? AND object IS NOT NULL",
            )?;
            let rows = statement.query_map([distribution], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
            })?;
            rows.collect()
        })
    }

    /// Trace of a distribution's imports, as it was stored.
    pub fn trace(&self, distribution: i64) -> Result<Option<Vec<u8>>, CatalogError> {
        self.read(|connection| {
            let question = "SELECT trace FROM traces WHERE distribution = ?";
            let mut statement = connection.prepare_cached(question)?;
            statement.query_row([distribution], |row| row.get(0)).optional()
        })
    }

    /// A distribution's files by the numbers of their objects, in the order of their paths.
    pub fn stored_files(
        &self,
        distribution: i64,
    ) -> Result<Vec<(String, StoredFile)>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT path, executable, object FROM files WHERE distribution = ? ORDER BY path",
            )?;
            let rows = statement.query_map([distribution], |row| {
                let object = row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned);
                Ok((row.get(0)?, StoredFile { object, executable: row.get(1)? }))
            })?;
            rows.collect()
        })
    }
}

pub(super) fn read_distribution(row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredDistribution> {
    let modules: String = row.get(4)?;
    Ok(StoredDistribution {
        id: row.get(0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        digest: row.get(3)?,
        modules: serde_json::from_str(&modules).unwrap_or_default(),
    })
}
