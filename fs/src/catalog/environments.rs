//! Environments, views, and the numbers that nodes of the mount have.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::packages::read_distribution;
use super::{Catalog, CatalogError, Owner, StoredDistribution};
use crate::interpreter::Interpreter;
use crate::requirements::Requirements;

/// An environment in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEnvironment {
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Digest of its view.
    pub view: String,
    /// Requirements that it was made from.
    pub requirements: Requirements,
    /// Text of its lock.
    pub lock: String,
    /// Interpreter.
    pub interpreter: Interpreter,
    /// Distributions by name, each with true if it was asked for.
    pub distributions: Vec<(StoredDistribution, bool)>,
    /// Files in its view.
    pub files: u64,
    /// Sum of their sizes, in bytes.
    pub bytes: u64,
}

/// Names and views that the mount is to show.
#[derive(Debug)]
pub struct Shown {
    /// Number that every change raises.
    pub generation: u64,
    /// Digest of the view of each environment, by name.
    pub views: BTreeMap<String, String>,
    /// Every distribution that some environment has.
    pub distributions: Vec<StoredDistribution>,
}

impl Catalog {
    /// Enters an environment, or replaces the one of that name. Its view is there already.
    pub fn put_environment(&self, environment: &StoredEnvironment) -> Result<(), CatalogError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM environments WHERE name = ?", [&environment.name])?;
            transaction.execute(
                "INSERT INTO environments (name, owner, view, requirements, lock, interpreter)
                 VALUES (?, ?, ?, ?, ?, ?)",
                params![
                    environment.name,
                    environment.owner.text(),
                    environment.view,
                    to_json(&environment.requirements)?,
                    environment.lock,
                    to_json(&environment.interpreter)?
                ],
            )?;
            for (distribution, requested) in &environment.distributions {
                transaction.execute(
                    "INSERT INTO members (environment, distribution, requested) VALUES (?, ?, ?)",
                    params![environment.name, distribution.id, requested],
                )?;
            }
            super::marks::reach(transaction, &environment.view)?;
            super::marks::raise_generation(transaction)
        })
    }

    /// Removes an environment; whether there was one.
    pub fn remove_environment(&self, name: &str) -> Result<bool, CatalogError> {
        self.write(|transaction| {
            let removed = transaction.execute("DELETE FROM environments WHERE name = ?", [name])?;
            super::marks::raise_generation(transaction)?;
            Ok(removed > 0)
        })
    }

    /// Requirements of the environments whose view has a digest.
    pub fn requirements_of(&self, view: &str) -> Result<Vec<Requirements>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT requirements FROM environments WHERE view = ?")?;
            let rows = statement.query_map([view], |row| from_json(&row.get::<_, String>(0)?))?;
            rows.collect()
        })
    }

    /// Returns an environment by its name.
    pub fn environment(&self, name: &str) -> Result<Option<StoredEnvironment>, CatalogError> {
        self.read(|connection| {
            let found = connection
                .prepare_cached(
                    "SELECT e.name, e.view, e.requirements, e.lock, e.interpreter, v.files, v.bytes,
                            e.owner
                     FROM environments e JOIN views v ON v.digest = e.view WHERE e.name = ?",
                )?
                .query_row([name], |row| {
                    Ok(StoredEnvironment {
                        name: row.get(0)?,
                        owner: Owner::of(&row.get::<_, String>(7)?),
                        view: row.get(1)?,
                        requirements: from_json(&row.get::<_, String>(2)?)?,
                        lock: row.get(3)?,
                        interpreter: from_json(&row.get::<_, String>(4)?)?,
                        distributions: Vec::new(),
                        files: row.get::<_, i64>(5)?.cast_unsigned(),
                        bytes: row.get::<_, i64>(6)?.cast_unsigned(),
                    })
                })
                .optional()?;
            let Some(mut environment) = found else { return Ok(None) };
            environment.distributions = members(connection, name)?;
            Ok(Some(environment))
        })
    }

    /// Names of all environments, in order.
    pub fn environment_names(&self) -> Result<Vec<String>, CatalogError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare("SELECT name FROM environments ORDER BY name")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })
    }

    /// Names of all environments of an owner, in order, and the view of each.
    pub fn views_of(&self, owner: Owner) -> Result<Vec<(String, String)>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT name, view, owner FROM environments ORDER BY name")?;
            let rows = statement.query_map([], |row| {
                let is_theirs = Owner::of(&row.get::<_, String>(2)?) == owner;
                Ok(is_theirs.then_some((row.get(0)?, row.get(1)?)))
            })?;
            rows.filter_map(rusqlite::Result::transpose).collect()
        })
    }

    /// Name and version of each distribution that some environment of an interpreter has.
    pub fn locked_versions(
        &self,
        interpreter: &str,
    ) -> Result<Vec<(String, String)>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT DISTINCT d.name, d.version FROM members m
                 JOIN distributions d ON d.id = m.distribution
                 WHERE d.interpreter = ? ORDER BY d.name, d.version",
            )?;
            let rows = statement.query_map([interpreter], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// Returns what the mount is to show.
    pub fn shown(&self) -> Result<Shown, CatalogError> {
        self.read(|connection| {
            let generation: i64 = connection.query_row(
                "SELECT value FROM counters WHERE name = 'generation'",
                [],
                |row| row.get(0),
            )?;
            let mut statement = connection.prepare("SELECT name, view FROM environments")?;
            let views = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let views = views.collect::<rusqlite::Result<_>>()?;
            let mut statement = connection.prepare(
                "SELECT DISTINCT d.id, d.name, d.version, d.digest, d.modules
                 FROM members m JOIN distributions d ON d.id = m.distribution",
            )?;
            let distributions = statement.query_map([], read_distribution)?;
            let distributions = distributions.collect::<rusqlite::Result<_>>()?;
            Ok(Shown { generation: generation.cast_unsigned(), views, distributions })
        })
    }
}

fn members(
    connection: &Connection,
    environment: &str,
) -> rusqlite::Result<Vec<(StoredDistribution, bool)>> {
    let mut statement = connection.prepare_cached(
        "SELECT d.id, d.name, d.version, d.digest, d.modules, m.requested
         FROM members m JOIN distributions d ON d.id = m.distribution
         WHERE m.environment = ? ORDER BY d.name",
    )?;
    let rows =
        statement.query_map([environment], |row| Ok((read_distribution(row)?, row.get(5)?)))?;
    rows.collect()
}

/// Text of a column that holds JSON.
pub(super) fn to_json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// The value of such a column.
pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })
}
