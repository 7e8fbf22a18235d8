//! Pins and leases: what must stay although nothing may be published that has it. Users set pins; leases are
//! of those who outlive the supervisor, such as containers.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Catalog, CatalogError};

/// A name or a holder, and the digest of the view that it keeps.
pub type ViewReference = (String, String);

impl Catalog {
    /// Pins the view that a name stands for now; a pin of that name is replaced.
    pub fn pin(&self, name: &str, view: &str) -> Result<(), CatalogError> {
        self.keep("pins", "name", name, view)
    }

    /// Removes a pin; whether there was one.
    pub fn unpin(&self, name: &str) -> Result<bool, CatalogError> {
        self.keep_no_longer("pins", "name", name)
    }

    /// Leases a view to a holder; its earlier lease is replaced.
    pub fn lease(&self, holder: &str, view: &str) -> Result<(), CatalogError> {
        self.keep("leases", "holder", holder, view)
    }

    /// Ends a lease; whether there was one.
    pub fn end_lease(&self, holder: &str) -> Result<bool, CatalogError> {
        self.keep_no_longer("leases", "holder", holder)
    }

    /// All leases, by holder.
    pub fn leases(&self) -> Result<Vec<ViewReference>, CatalogError> {
        self.read(|connection| all(connection, "SELECT holder, view FROM leases ORDER BY holder"))
    }

    fn keep(&self, table: &str, key: &str, value: &str, view: &str) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let statement = format!("INSERT OR REPLACE INTO {table} ({key}, view) VALUES (?, ?)");
            transaction.execute(&statement, params![value, view])?;
            super::marks::reach(transaction, view)
        })
    }

    fn keep_no_longer(&self, table: &str, key: &str, value: &str) -> Result<bool, CatalogError> {
        self.write(|transaction| {
            let statement = format!("DELETE FROM {table} WHERE {key} = ?");
            Ok(transaction.execute(&statement, [value])? > 0)
        })
    }

    /// Digest of the view that an environment's name stands for, or that is a distribution's own.
    pub fn view_of(&self, name: &str) -> Result<Option<String>, CatalogError> {
        self.read(|connection| {
            connection
                .query_row("SELECT view FROM environments WHERE name = ?", [name], |row| row.get(0))
                .optional()
        })
    }
}

pub(super) fn all(connection: &Connection, question: &str) -> rusqlite::Result<Vec<ViewReference>> {
    let mut statement = connection.prepare(question)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
