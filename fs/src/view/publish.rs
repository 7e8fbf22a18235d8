//! Making views visible: entered in the catalog, their indexes written, their names shown.
//!
//! An index is written from the catalog alone, so that it can be written again at any time: when
//! objects have moved, or when it is damaged. Its nodes keep their numbers.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use super::compile::{compile, count_nodes};
use super::merge::{Conflict, Part, ViewEntry, merge};
use super::published::{Published, distribution_name, index_path};
use crate::catalog::{
    Catalog, CatalogError, NewView, Shown, StoredDistribution, StoredFile, StoredView,
};
use crate::durable::replace;
use crate::id::ObjectId;
use crate::interpreter::Interpreter;
use crate::store::{Location, NOWHERE};
use crate::trace::Trace;

/// Reason why a view could not be made visible.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Distributions that exclude each other.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// There is no such view.
    #[error("the catalog knows no view {0}")]
    Unknown(String),
    /// The file system.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

/// Entries of a view by path, and where its objects are.
type Laid = (BTreeMap<String, ViewEntry>, HashMap<ObjectId, Location>);

/// The views of a catalog, in a folder.
#[derive(Debug, Clone, Copy)]
pub struct Views<'a> {
    /// The catalog.
    pub catalog: &'a Catalog,
    /// The folder.
    pub folder: &'a Path,
}

impl Views<'_> {
    /// Makes the view of distributions, unless it is there; its index is written when it returns.
    pub fn make(
        &self,
        digest: &str,
        parts: &[StoredDistribution],
        interpreter: Option<&Interpreter>,
    ) -> Result<(), ViewError> {
        let known = self.catalog.view(digest)?;
        if known.is_some_and(|view| !view.stale) && index_path(self.folder, digest).exists() {
            return Ok(());
        }
        let (entries, locations) = self.content(parts, interpreter)?;
        let sizes = entries.values().filter_map(|content| match content {
            ViewEntry::File { object, .. } => locations.get(object).map(|location| location.size),
            ViewEntry::Empty { .. } => Some(0),
            ViewEntry::Link(_) => None,
        });
        let (files, bytes) = sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size));
        let nodes = count_nodes(&entries);
        let new = NewView { digest, parts, interpreter, nodes, files, bytes };
        self.catalog.enter_view(&new)?;
        self.write(digest)
    }

    /// Writes a view's index.
    pub fn write(&self, digest: &str) -> Result<(), ViewError> {
        let compiled = self.compiled(digest)?;
        let path = index_path(self.folder, digest);
        replace(&path, &compiled).map_err(at(&path))?;
        Ok(self.catalog.view_is_written(digest)?)
    }

    /// Writes the indexes of all views that are stale; how many.
    pub fn write_stale(&self) -> Result<u64, ViewError> {
        let stale = self.catalog.stale_views()?;
        stale.iter().try_for_each(|digest| self.write(digest))?;
        Ok(stale.len() as u64)
    }

    /// The bytes of a view's index, as the catalog says them.
    pub fn compiled(&self, digest: &str) -> Result<Vec<u8>, ViewError> {
        let view = self.catalog.view(digest)?;
        let StoredView { parts, interpreter, first_node, .. } =
            view.ok_or_else(|| ViewError::Unknown(digest.to_owned()))?;
        let (entries, locations) = self.content(&parts, interpreter.as_ref())?;
        let trace = match &interpreter {
            Some(interpreter) => self.trace(&parts, interpreter, &entries)?,
            None => Vec::new(),
        };
        Ok(compile(&entries, &locations, first_node, &trace))
    }

    /// Makes the trace of a view of these distributions; empty if no import was seen.
    fn trace(
        &self,
        distributions: &[StoredDistribution],
        interpreter: &Interpreter,
        entries: &BTreeMap<String, ViewEntry>,
    ) -> Result<Vec<u8>, ViewError> {
        let mut traces = Vec::new();
        for distribution in distributions {
            let stored = self.catalog.trace(distribution.id)?;
            match stored.map(|bytes| Trace::decode(&bytes)).transpose() {
                Ok(trace) => traces.extend(trace),
                Err(error) => tracing::warn!(%error, distribution.name, "a trace is left out"),
            }
        }
        let mut trace = Trace::union(traces);
        if trace.modules.is_empty() {
            return Ok(Vec::new());
        }
        trace.retain(|path| entries.contains_key(path));
        trace.interpreter = interpreter.is_present.then(|| interpreter.executable.clone());
        trace.encode().map_err(at(Path::new("zstd")))
    }

    /// The names that environments and distributions have.
    pub fn published(&self) -> Result<Published, ViewError> {
        let Shown { generation, views: envs, distributions } = self.catalog.shown()?;
        let name =
            |one: &StoredDistribution| distribution_name(&one.name, &one.version, &one.digest);
        let dists = distributions.iter().map(|one| (name(one), own_view(&one.digest))).collect();
        Ok(Published { generation, envs, dists, changed: Vec::new() })
    }

    /// A distribution's files, as a part of a view.
    fn part(&self, distribution: &StoredDistribution) -> Result<Part, ViewError> {
        let files = self.catalog.stored_files(distribution.id)?.into_iter();
        let entries = files.map(|(path, StoredFile { object, executable })| {
            let content = match object {
                Some(object) => ViewEntry::File { object, executable },
                None => ViewEntry::Empty { executable },
            };
            (path, content)
        });
        let label = format!("{} {}", distribution.name, distribution.version);
        Ok(Part { label, entries: entries.collect() })
    }

    fn content(
        &self,
        distributions: &[StoredDistribution],
        interpreter: Option<&Interpreter>,
    ) -> Result<Laid, ViewError> {
        let mut parts = Vec::with_capacity(distributions.len());
        for distribution in distributions {
            parts.push(self.part(distribution)?);
        }
        let links = interpreter.into_iter().flat_map(Interpreter::links);
        if let Some(first) = parts.first_mut() {
            first.entries.extend(links.map(|(path, target)| (path, ViewEntry::Link(target))));
        }
        let entries = merge(&parts)?;
        let ids: Vec<i64> = distributions.iter().map(|distribution| distribution.id).collect();
        let mut locations = self.catalog.locations(&ids)?;
        for (object, _) in self.catalog.quarantined()? {
            if let Some(location) = locations.get_mut(&object) {
                *location = Location { segment: NOWHERE, position: 0, ..*location };
            }
        }
        Ok((entries, locations))
    }
}

/// The name of a distribution's own view. Two distributions with the same files share it.
pub fn own_view(digest: &str) -> String {
    format!("d{digest}")
}

fn at(path: &Path) -> impl Fn(io::Error) -> ViewError + use<'_> {
    move |source| ViewError::File { path: path.to_owned(), source }
}
