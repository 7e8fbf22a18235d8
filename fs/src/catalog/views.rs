//! Views: what each is made of, which numbers its nodes have, and whether its index is written.

use rusqlite::{Connection, OptionalExtension, params};

use super::environments::{from_json, to_json};
use super::packages::read_distribution;
use super::{Catalog, CatalogError, StoredDistribution};
use crate::interpreter::Interpreter;

/// A view that is being made.
#[derive(Debug, Clone)]
pub struct NewView<'a> {
    /// Digest.
    pub digest: &'a str,
    /// The distributions that it is made of, in order of precedence.
    pub parts: &'a [StoredDistribution],
    /// The interpreter that it links to.
    pub interpreter: Option<&'a Interpreter>,
    /// Number of nodes.
    pub nodes: u64,
    /// Files in it.
    pub files: u64,
    /// Sum of their sizes, in bytes.
    pub bytes: u64,
}

/// A view in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredView {
    /// Digest.
    pub digest: String,
    /// The distributions that it is made of.
    pub parts: Vec<StoredDistribution>,
    /// The interpreter that it links to.
    pub interpreter: Option<Interpreter>,
    /// Number of its first node.
    pub first_node: u64,
    /// True if its index does not say what the catalog says, and is to be written.
    pub stale: bool,
}

impl Catalog {
    /// Enters a view with numbers for its nodes, unless there is one of that digest. Its index is
    /// to be written next.
    pub fn enter_view(&self, new: &NewView<'_>) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let interpreter = new.interpreter.map(to_json).transpose()?;
            let inserted = transaction.execute(
                "INSERT OR IGNORE INTO views (digest, files, bytes, interpreter, first_node, nodes)
                 SELECT ?, ?, ?, ?, value, ? FROM counters WHERE name = 'node'",
                params![
                    new.digest,
                    new.files.cast_signed(),
                    new.bytes.cast_signed(),
                    interpreter,
                    new.nodes.cast_signed()
                ],
            )?;
            if inserted == 0 {
                return super::marks::reach(transaction, new.digest);
            }
            transaction.execute(
                "UPDATE counters SET value = value + ? WHERE name = 'node'",
                [new.nodes.cast_signed()],
            )?;
            for part in new.parts {
                transaction.execute(
                    "INSERT INTO parts (view, distribution) VALUES (?, ?)",
                    params![new.digest, part.id],
                )?;
            }
            Ok(())
        })
    }

    /// Returns a view by its digest.
    pub fn view(&self, digest: &str) -> Result<Option<StoredView>, CatalogError> {
        self.read(|connection| {
            let found = connection
                .prepare_cached(
                    "SELECT digest, interpreter, first_node, stale FROM views WHERE digest = ?",
                )?
                .query_row([digest], |row| {
                    let interpreter: Option<String> = row.get(1)?;
                    Ok(StoredView {
                        digest: row.get(0)?,
                        parts: Vec::new(),
                        interpreter: interpreter.map(|text| from_json(&text)).transpose()?,
                        first_node: row.get::<_, i64>(2)?.cast_unsigned(),
                        stale: row.get(3)?,
                    })
                })
                .optional()?;
            let Some(mut view) = found else { return Ok(None) };
            view.parts = parts(connection, digest)?;
            Ok(Some(view))
        })
    }

    /// The view that has a node.
    pub fn view_with_node(&self, number: u64) -> Result<Option<String>, CatalogError> {
        self.read(|connection| {
            let question =
                "SELECT digest FROM views WHERE first_node <= ?1 AND ?1 < first_node + nodes";
            connection.query_row(question, [number.cast_signed()], |row| row.get(0)).optional()
        })
    }

    /// Digests of all views.
    pub fn view_digests(&self) -> Result<Vec<String>, CatalogError> {
        self.digests("SELECT digest FROM views")
    }

    /// Digests of the views whose index is to be written.
    pub fn stale_views(&self) -> Result<Vec<String>, CatalogError> {
        self.digests("SELECT digest FROM views WHERE stale")
    }

    /// Takes note that a view's index says what the catalog says.
    pub fn view_is_written(&self, digest: &str) -> Result<(), CatalogError> {
        self.write(|transaction| {
            transaction.execute("UPDATE views SET stale = 0 WHERE digest = ?", [digest])?;
            Ok(())
        })
    }

    fn digests(&self, question: &str) -> Result<Vec<String>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare(question)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })
    }
}

fn parts(connection: &Connection, view: &str) -> rusqlite::Result<Vec<StoredDistribution>> {
    let mut statement = connection.prepare_cached(
        "SELECT d.id, d.name, d.version, d.digest, d.modules
         FROM parts p JOIN distributions d ON d.id = p.distribution
         WHERE p.view = ? ORDER BY d.name",
    )?;
    let rows = statement.query_map([view], read_distribution)?;
    rows.collect()
}
