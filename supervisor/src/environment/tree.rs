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

/// An installed environment. Two of the same key hold the same distributions.
#[derive(Debug)]
pub struct Tree {
    /// Whose environment it is.
    pub owner: Owner,
    /// Digest of its distributions and interpreter; of what it was asked for where it is private.
    pub key: String,
    /// Top-level modules of what its requirements ask for.
    pub modules: Vec<String>,
    /// Its distributions by their digests; one that stands for them all where it is private.
    pub distributions: BTreeMap<String, Distribution>,
    /// Its interpreter.
    pub interpreter: Interpreter,
    /// What can be imported from it, once that was read.
    pub(super) imports: OnceCell<Arc<Imports>>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A view of the mount. It is not collected meanwhile.
    View(Arc<View>, #[expect(dead_code, reason = "held for its drop")] Lease),
    /// A folder of its own, removed with its last user: the ssd tier is off.
    Private(Arc<TempDir>),
}

impl Tree {
    /// An environment and its view, which `lease` keeps.
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

    /// Some distributions of this environment.
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

    /// An environment installed in `folder`.
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

    /// What can be imported from it, where that was read.
    pub fn known_imports(&self) -> Option<&Arc<Imports>> {
        self.imports.get()
    }

    /// Digest of the distribution that has the top-level name of a module.
    pub fn owner_of_top(&self, module: &str) -> Option<&str> {
        let top = module.split('.').next().unwrap_or_default();
        let has = |one: &&Distribution| one.modules.iter().any(|name| name == top);
        self.distributions.values().find(has).map(|one| one.digest.as_str())
    }

    /// Digest of its view, where it has one.
    pub fn view_digest(&self) -> Option<&str> {
        match &self.place {
            Place::View(view, _) => Some(view.digest()),
            Place::Private(_) => None,
        }
    }

    /// Its own folder, detached and read-only.
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

    /// What must be kept as long as a sandbox sees it.
    pub fn keeps(&self) -> Option<Arc<TempDir>> {
        match &self.place {
            Place::View(..) => None,
            Place::Private(folder) => Some(folder.clone()),
        }
    }
}
