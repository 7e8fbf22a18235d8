//! Texts by name that the supervisor has learned, or its user has given it, for its next run,
//! which mean nothing here.

use rusqlite::{OptionalExtension, params};

use super::{Catalog, CatalogError};

impl Catalog {
    /// Keeps a text; an earlier one of that name is replaced.
    pub fn remember(&self, name: &str, text: &str) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let statement = "INSERT OR REPLACE INTO learned (name, text) VALUES (?, ?)";
            transaction.execute(statement, params![name, text])?;
            Ok(())
        })
    }

    /// The text of a name.
    pub fn recall(&self, name: &str) -> Result<Option<String>, CatalogError> {
        self.read(|connection| {
            let question = "SELECT text FROM learned WHERE name = ?";
            connection.query_row(question, [name], |row| row.get(0)).optional()
        })
    }
}
