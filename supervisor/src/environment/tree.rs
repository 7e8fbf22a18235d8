//! An installed environment, as sandboxes see it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipsqueak_fs::{Distribution, Environment, Imports, Interpreter, Lease, Owner, Subset};
use pipsqueak_kernel::mount::{self, Access};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::interpreter;
use crate::mount::View;
use crate::sandbox::{ENVIRONMENT, Mounted, RUNTIME};

/// An installed environment. Two with the same key hold the same distributions.
#[derive(Debug)]
pub struct Tree {
    /// Owner of the environment.
    pub owner: Owner,
    /// Digest of the distributions and the interpreter; for a private environment its name.
    pub key: String,
    /// Top-level modules of the distributions that were asked for.
    pub modules: Vec<String>,
    /// Distributions by digest; a private environment has one that stands for all of them.
    pub distributions: BTreeMap<String, Distribution>,
    /// Interpreter of the environment.
    pub interpreter: Interpreter,
    /// Modules that can be imported from it, once they were read.
    pub(super) imports: OnceCell<Arc<Imports>>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A view of the mount. The lease keeps it from being collected.
    View(Arc<View>, #[expect(dead_code, reason = "held for its drop")] Lease),
    /// A private folder, removed with its last user: the ssd tier is off.
    Private(Arc<TempDir>),
}

impl Tree {
    /// The environment in a view, which `lease` keeps.
    pub fn view(environment: Environment, view: Arc<View>, lease: Lease) -> Self {
        let by_digest = |one: &Distribution| (one.digest.clone(), one.clone());
        let distributions = environment.distributions.iter().map(by_digest).collect();
        let requested = environment.distributions.into_iter().filter(|one| one.requested);
        Self {
            owner: environment.owner,
            key: environment.digest,
            modules: requested.flat_map(|distribution| distribution.modules).collect(),
            distributions,
            interpreter: environment.interpreter,
            imports: OnceCell::new(),
            place: Place::View(view, lease),
        }
    }

    /// Part of this environment: the `wanted` distributions, in the view of the subset.
    pub(super) fn part(&self, wanted: &BTreeSet<String>, subset: Subset, view: Arc<View>) -> Self {
        Self {
            owner: self.owner,
            key: subset.digest,
            modules: Vec::new(),
            distributions: {
                let mut distributions = self.distributions.clone();
                distributions.retain(|digest, _| wanted.contains(digest));
                distributions
            },
            interpreter: self.interpreter.clone(),
            imports: OnceCell::new(),
            place: Place::View(view, subset.lease),
        }
    }

    /// A private environment, installed in `folder`.
    pub fn private(
        key: String,
        modules: Vec<String>,
        interpreter: Interpreter,
        folder: Arc<TempDir>,
    ) -> Self {
        let whole = Distribution {
            name: key.clone(),
            version: String::new(),
            digest: key.clone(),
            requested: true,
            modules: modules.clone(),
        };
        let (distributions, imports) = ([(key.clone(), whole)].into(), OnceCell::new());
        let (owner, place) = (Owner::Functions, Place::Private(folder));
        Self { owner, key, modules, distributions, interpreter, imports, place }
    }

    /// Modules that can be imported, if they were read.
    pub fn known_imports(&self) -> Option<&Arc<Imports>> {
        self.imports.get()
    }

    /// Digest of the distribution that has a module's top-level name.
    pub fn owner_of_top(&self, module: &str) -> Option<&str> {
        let top = module.split('.').next().unwrap_or_default();
        let has = |one: &&Distribution| one.modules.iter().any(|name| name == top);
        self.distributions.values().find(has).map(|one| one.digest.as_str())
    }

    /// Digest of the view; `None` for a private environment.
    pub fn view_digest(&self) -> Option<&str> {
        match &self.place {
            Place::View(view, _) => Some(view.digest()),
            Place::Private(_) => None,
        }
    }

    /// The mount of the environment's files, detached and read-only.
    pub fn mount(&self) -> io::Result<Mounted> {
        let environment = match &self.place {
            Place::View(view, _) => view.take()?,
            Place::Private(folder) => mount::take(folder.path(), Access::ReadOnly)?,
        };
        Ok((PathBuf::from(ENVIRONMENT), environment))
    }

    /// The mounts that a sandbox needs besides its interpreter's, detached and read-only.
    pub fn mounts(&self, runtime: &Path) -> io::Result<Vec<Mounted>> {
        let runtime = mount::take(runtime, Access::ReadOnly)?;
        Ok(vec![self.mount()?, (PathBuf::from(RUNTIME), runtime)])
    }

    /// The mounts that a sandbox needs of its interpreter, detached and read-only.
    pub fn interpreter_mounts(&self) -> io::Result<Vec<Mounted>> {
        interpreter::mounts(&self.interpreter)
    }

    /// Folder that must be kept as long as a sandbox sees it; `None` for a view.
    pub fn keeps(&self) -> Option<Arc<TempDir>> {
        match &self.place {
            Place::View(..) => None,
            Place::Private(folder) => Some(folder.clone()),
        }
    }
}
