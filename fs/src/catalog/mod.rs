//! The catalog: what is stored, in SQLite. The system of record, written by the supervisor alone;
//! the mount reads only what is compiled from it.

mod environments;
mod learned;
mod leases;
mod marks;
mod objects;
mod owner;
mod packages;
mod schema;
mod snapshot;
mod sweep;
mod views;

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction};

use crate::durable::{crash, make_private};
use crate::sync::{Mutex, MutexGuard};

pub use environments::{Shown, StoredEnvironment};
pub use objects::{NewObject, remove_unless_entered};
pub use owner::Owner;
pub use packages::{FileContent, NewDistribution, StoredDistribution, StoredFile};
pub use snapshot::{DistributionRow, Snapshot};
pub use sweep::Things;
pub use views::{NewView, StoredView};

/// Reason why the catalog could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// SQLite.
    #[error("the catalog {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: rusqlite::Error,
    },
    /// File.
    #[error("letting nobody else read the catalog {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The catalog was written by a later version.
    #[error(
        "the catalog {} has schema {found}, this program knows {known}; use the newer program",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Schema.
        found: i64,
        /// Ours.
        known: i64,
    },
}

impl CatalogError {
    /// True if there was no room on the disk; then nothing was written.
    pub fn is_full(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
    }
}

/// The open catalog.
#[derive(Debug)]
pub struct Catalog {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Catalog {
    /// Opens the catalog at `path`; makes it where it is not there.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        let failed = |source| CatalogError::Database { path: path.to_owned(), source };
        make_private(path)
            .map_err(|source| CatalogError::File { path: path.to_owned(), source })?;
        let connection = Connection::open(path).map_err(failed)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )
            .map_err(failed)?;
        let found = schema::version(&connection).map_err(failed)?;
        if found > schema::VERSION {
            let known = schema::VERSION;
            return Err(CatalogError::Newer { path: path.to_owned(), found, known });
        }
        schema::migrate(&connection, found).map_err(failed)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds damage: what SQLite finds wrong with the file, and rows that refer to what is not there.
    pub fn integrity(&self) -> Result<Vec<String>, CatalogError> {
        self.read(|connection| {
            let mut wrong = Vec::new();
            let mut statement = connection.prepare("PRAGMA integrity_check")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            for row in rows {
                wrong.extend(Some(row?).filter(|text| text != "ok"));
            }
            let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
            let rows = statement.query_map([], |row| {
                let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
                Ok(format!("a row of {table} refers to one of {parent} that is not there"))
            })?;
            for row in rows {
                wrong.push(row?);
            }
            Ok(wrong)
        })
    }

    /// Reads.
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CatalogError> {
        work(&self.lock()).map_err(|error| self.failed(error))
    }

    /// Writes, all or nothing.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, CatalogError> {
        let mut connection = self.lock();
        let written = connection.transaction().and_then(|transaction| {
            let value = work(&transaction)?;
            crash::point();
            transaction.commit()?;
            crash::point();
            Ok(value)
        });
        written.map_err(|error| self.failed(error))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock()
    }

    fn failed(&self, source: rusqlite::Error) -> CatalogError {
        CatalogError::Database { path: self.path.clone(), source }
    }
}
