//! All of the ssd tier that is on disk: store, catalog, views. What the supervisor uses.

mod keep;
mod shown;

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::catalog::{
    Catalog, CatalogError, FileContent, NewDistribution, NewObject, StoredDistribution,
    StoredEnvironment,
};
use crate::environment::{self, Environment, EnvironmentSpec, Plain, distribution_name};
use crate::gc::hold::Holds;
use crate::id::Digest;
use crate::ingest::claims::Claims;
use crate::ingest::commit::{Incoming, commit};
use crate::ingest::confine::Confine;
use crate::ingest::downloads::Downloads;
use crate::ingest::index::Index;
use crate::ingest::lock::{self, Locked};
use crate::ingest::staged::Staged;
use crate::ingest::trace;
use crate::ingest::uv::Uv;
use crate::ingest::wanted::Wanted;
use crate::ingest::{AddError, Step, credentials, pack, source};
use crate::interpreter::Interpreter;
use crate::store::StoreError;
use crate::store::append::Appender;
use crate::view::publish::{ViewError, Views, own_view};

pub use keep::Lease;
pub use shown::retained_name;

/// Why a repository could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The file system.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A view.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Writing a segment anew.
    #[error(transparent)]
    Write(#[from] AddError),
    /// The mount, or who uses it.
    #[error("the mount: {0}")]
    Mount(io::Error),
    /// There is nothing of that name.
    #[error(
        "there is no environment or distribution {0}; `pipsqueak store du` lists those there are"
    )]
    Unknown(String),
}

/// The repository in a state folder.
#[derive(Debug)]
pub struct Repository {
    pub(crate) segments: PathBuf,
    pub(crate) views: PathBuf,
    pub(crate) staging: PathBuf,
    pub(crate) downloads: Downloads,
    pub(crate) built: PathBuf,
    pub(crate) uv: PathBuf,
    mount: PathBuf,
    pub(crate) index: Index,
    pub(crate) catalog: Catalog,
    /// Views that are shown although no environment's name stands for them.
    retained: Mutex<BTreeSet<String>>,
    /// One change at a time; resolving and downloading go on beside it.
    committing: Mutex<()>,
    claims: Claims,
    /// Artifacts, and the interpreters that they are for, which additions count on.
    pub(crate) wanted: Holds<(String, String)>,
    /// Digests of the views that something runs in.
    pub(crate) leased: Holds<String>,
}

impl Repository {
    /// Opens the repository in `state`, whose downloads are kept in `cache` by the executable `uv`
    /// and come from `index`, and which is shown at `mount`.
    ///
    /// Clears what a killed predecessor has left half-made. Only one may be open for a folder.
    pub fn open(
        state: &Path,
        cache: &Path,
        uv: PathBuf,
        mount: PathBuf,
        index: Index,
    ) -> Result<Self, RepositoryError> {
        let repository = Self {
            segments: state.join("segments"),
            views: state.join("views"),
            staging: state.join("staging"),
            downloads: Downloads::open(cache).map_err(StoreError::at(cache))?,
            built: cache.join("built"),
            uv,
            mount,
            index,
            catalog: {
                fs::create_dir_all(state).map_err(StoreError::at(state))?;
                Catalog::open(&state.join("catalog.sqlite"))?
            },
            retained: Mutex::default(),
            committing: Mutex::new(()),
            claims: Claims::default(),
            wanted: Holds::default(),
            leased: Holds::default(),
        };
        let _ = fs::remove_dir_all(&repository.staging);
        let folders = [&repository.segments, &repository.views, &repository.staging];
        for folder in folders {
            fs::create_dir_all(folder).map_err(StoreError::at(folder))?;
        }
        repository.clear_unfinished()?;
        repository.downloads.clear_unpacked();
        // What was moved, or was to be shown, when a predecessor was killed. Old indexes still lead
        // to what is there.
        if let Err(error) = repository.views().write_stale() {
            tracing::error!(%error, "writing the indexes that a predecessor has not");
        }
        repository.show()?;
        Ok(repository)
    }

    fn clear_unfinished(&self) -> Result<(), RepositoryError> {
        self.catalog.forget_unsealed()?;
        let sealed = self.catalog.sealed_segments()?;
        let views: HashSet<String> = self.catalog.view_digests()?.into_iter().collect();
        let finished = |path: &Path| {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("segment") => stem.parse().is_ok_and(|id| sealed.contains(&id)),
                Some("index") => views.contains(stem),
                Some("new") => false,
                _ => true,
            }
        };
        for folder in [&self.segments, &self.views] {
            for entry in fs::read_dir(folder).map_err(StoreError::at(folder))? {
                let path = entry.map_err(StoreError::at(folder))?.path();
                if !finished(&path) {
                    fs::remove_file(&path).map_err(StoreError::at(&path))?;
                }
            }
        }
        Ok(())
    }

    /// Makes an environment, or replaces what a name stands for: resolves, installs what is not
    /// stored yet, stores it, and publishes the view. Blocks.
    pub fn add(
        &self,
        confine: &dyn Confine,
        spec: &EnvironmentSpec,
        told: &mut dyn FnMut(Step),
    ) -> Result<Environment, AddError> {
        let added = {
            let folder = self.downloads.folder();
            let _downloading = self.downloads.hold().map_err(AddError::at(folder))?;
            self.add_once(confine, spec, told)
        };
        if added.is_err() {
            self.downloads.clear_unpacked();
        }
        added
    }

    fn add_once(
        &self,
        confine: &dyn Confine,
        spec: &EnvironmentSpec,
        told: &mut dyn FnMut(Step),
    ) -> Result<Environment, AddError> {
        let step = |step: &str| Step { step: step.to_owned(), done: 0, total: 0 };
        let work = self.folder()?;
        let uv = Uv {
            binary: &self.uv,
            cache: Some(self.downloads.folder()),
            interpreter: &spec.interpreter,
            host: &spec.host,
            work: work.path(),
            built: None,
            index: &self.index,
        };
        told(step("resolving"));
        let wanted = Wanted::of(&spec.requirements, &spec.interpreter)?;
        let built = self.built(&spec.interpreter)?;
        let uv = Uv { built: wanted.may_build.then_some(&*built), ..uv };
        let preferred = if spec.upgrade {
            Vec::new()
        } else {
            self.catalog.locked_versions(&spec.interpreter.identity())?
        };
        let preferred = lock::preferences(&preferred);
        let lock_text = self.resolve(confine, &uv, &wanted, &preferred, told)?;
        let lock_text = credentials::remove(&lock_text);
        let locked = wanted.hold(lock::parse(&lock_text)?)?;
        let _counted_on = self.want(&locked, &spec.interpreter);
        self.obtain(confine, &uv, &wanted, &locked, told)?;
        told(step("publishing"));
        self.publish(spec, &wanted, lock_text, &locked)
    }

    /// Resolves; where it is allowed, what has no wheel is built until there is one of everything.
    fn resolve(
        &self,
        confine: &dyn Confine,
        uv: &Uv<'_>,
        wanted: &Wanted,
        preferred: &str,
        told: &mut dyn FnMut(Step),
    ) -> Result<String, AddError> {
        loop {
            let (package, built) = match (uv.resolve(confine, wanted, preferred), uv.built) {
                (Err(AddError::NoWheel { package, .. }), Some(built)) => (package, built),
                (resolved, _) => return resolved,
            };
            told(Step { step: format!("building {package} from source"), done: 0, total: 0 });
            let folder = self.folder()?;
            source::build(confine, uv, wanted, &package, built, folder.path())?;
        }
    }

    /// Where wheels are kept that were built for an interpreter.
    pub(crate) fn built(&self, interpreter: &Interpreter) -> Result<PathBuf, AddError> {
        let folder = self.built.join(interpreter.identity());
        fs::create_dir_all(&folder).map_err(AddError::at(&folder))?;
        Ok(folder)
    }

    /// Installs and stores what is not stored yet, or waits for whoever is at it.
    fn obtain(
        &self,
        confine: &dyn Confine,
        uv: &Uv<'_>,
        wanted: &Wanted,
        locked: &[Locked],
        told: &mut dyn FnMut(Step),
    ) -> Result<(), AddError> {
        let key = |one: &Locked| format!("{} {}", one.artifact(), uv.interpreter.identity());
        loop {
            let missing = self.missing(locked, uv.interpreter)?;
            if missing.is_empty() {
                return Ok(());
            }
            let keys: Vec<String> = missing.iter().map(|one| key(one)).collect();
            let claim = self.claims.take(&keys);
            // Others may have stored some of it before it was claimed.
            let mut missing = self.missing(locked, uv.interpreter)?;
            missing.retain(|one| claim.has(&key(one)));
            if !missing.is_empty() {
                let step = format!("installing {} distributions", missing.len());
                told(Step { step, done: 0, total: 0 });
                let present = self.present(locked, uv.interpreter)?;
                self.install(confine, uv, wanted, &missing, &present, told)?;
            }
        }
    }

    /// Installs requirements into `folder`, shared with nobody and nothing kept. Blocks.
    pub fn install_plain(
        &self,
        confine: &dyn Confine,
        spec: &EnvironmentSpec,
        folder: &Path,
    ) -> Result<Plain, AddError> {
        let work = self.folder()?;
        let interpreter = &spec.interpreter;
        let wanted = Wanted::of(&spec.requirements, interpreter)?;
        let built = self.built(interpreter)?;
        let uv = Uv {
            binary: &self.uv,
            cache: None,
            interpreter,
            host: &spec.host,
            work: work.path(),
            built: wanted.may_build.then_some(&*built),
            index: &self.index,
        };
        if wanted.may_build {
            // Builds what has to be built, so that installing builds nothing.
            self.resolve(confine, &uv, &wanted, &lock::preferences(&[]), &mut |_| {})?;
        }
        uv.install_plain(confine, &wanted, folder)?;
        let staged =
            Staged::open(folder, interpreter.site_packages(), interpreter.cache_tag.clone())?;
        let distributions = staged.distributions()?.into_iter();
        let modules = distributions
            .filter(|distribution| wanted.requested.contains(&distribution.name))
            .flat_map(|distribution| distribution.modules);
        Ok(Plain { modules: modules.collect() })
    }

    /// All environments, by name.
    pub fn environments(&self) -> Result<Vec<Environment>, RepositoryError> {
        let names = self.catalog.environment_names()?;
        let all = names.iter().filter_map(|name| self.environment(name).transpose());
        all.collect()
    }

    /// One environment.
    pub fn environment(&self, name: &str) -> Result<Option<Environment>, RepositoryError> {
        Ok(self.catalog.environment(name)?.map(Environment::of))
    }

    /// Removes an environment's name; whether there was one. Its objects stay.
    pub fn remove(&self, name: &str) -> Result<bool, RepositoryError> {
        let _turn = self.turn();
        let removed = self.catalog.remove_environment(name)?;
        self.show()?;
        Ok(removed)
    }

    /// Waits for the turn to change what is stored.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.committing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing<'a>(
        &self,
        locked: &'a [Locked],
        interpreter: &Interpreter,
    ) -> Result<Vec<&'a Locked>, AddError> {
        let mut missing = Vec::new();
        for one in locked {
            if self.catalog.distribution(&one.artifact(), &interpreter.identity())?.is_none() {
                missing.push(one);
            }
        }
        Ok(missing)
    }

    /// Where the mount shows those of the locked distributions that are stored.
    fn present(
        &self,
        locked: &[Locked],
        interpreter: &Interpreter,
    ) -> Result<Vec<PathBuf>, AddError> {
        let mut present = Vec::new();
        for one in locked {
            let stored = self.catalog.distribution(&one.artifact(), &interpreter.identity())?;
            if let Some(stored) = stored {
                let name = distribution_name(&stored.name, &stored.version, &stored.digest);
                present.push(self.mount.join("dists").join(name));
            }
        }
        // One that no environment has now is not shown.
        present.retain(|path| path.exists());
        Ok(present)
    }

    fn install(
        &self,
        confine: &dyn Confine,
        uv: &Uv<'_>,
        wanted: &Wanted,
        missing: &[&Locked],
        present: &[PathBuf],
        told: &mut dyn FnMut(Step),
    ) -> Result<(), AddError> {
        let staging = self.folder()?;
        uv.install_locked(confine, wanted.options(), missing, staging.path())?;
        let interpreter = uv.interpreter;
        let staged = Staged::open(
            staging.path(),
            interpreter.site_packages(),
            interpreter.cache_tag.clone(),
        )?;
        let mut installed = staged.distributions()?;
        let mut incoming = Vec::new();
        for locked in missing {
            let position = installed.iter().position(|one| one.name == locked.name);
            let Some(position) = position else {
                return Err(AddError::Hostile {
                    distribution: locked.name.clone(),
                    reason: "it has installed nothing under its own name".to_owned(),
                });
            };
            let staged = installed.swap_remove(position);
            incoming.push(Incoming { artifact: locked.artifact(), staged });
        }
        let trace = if interpreter.is_present {
            told(Step { step: "tracing imports".to_owned(), done: 0, total: 0 });
            trace::record(
                confine,
                staging.path(),
                present,
                uv.work,
                &interpreter.site_packages(),
                &to_import(&incoming, &wanted.requested),
            )
        } else {
            Vec::new()
        };
        let _turn = self.turn();
        let mut tell = |done, total| told(Step { step: "storing".to_owned(), done, total });
        let identity = interpreter.identity();
        commit(&self.catalog, &self.segments, &staged, &incoming, &trace, &identity, &mut tell)
    }

    pub(crate) fn publish(
        &self,
        spec: &EnvironmentSpec,
        wanted: &Wanted,
        lock_text: String,
        locked: &[Locked],
    ) -> Result<Environment, AddError> {
        let _turn = self.turn();
        let identity = spec.interpreter.identity();
        let venv = self.venv(&spec.interpreter)?;
        let mut members = Vec::new();
        for one in locked {
            let stored = self.catalog.distribution(&one.artifact(), &identity)?;
            members.push(stored.ok_or_else(|| {
                AddError::Lock(format!("{} is not stored although it was installed", one.name))
            })?);
        }
        let digest = environment::digest(&spec.interpreter, &members);
        let view = environment::view(&spec.name, &digest);
        let parts: Vec<_> = [&venv].into_iter().chain(&members).cloned().collect();
        let views = self.views();
        views.make(&view, &parts, Some(&spec.interpreter))?;
        for member in &members {
            views.make(&own_view(&member.digest), std::slice::from_ref(member), None)?;
        }
        let stored = StoredEnvironment {
            name: spec.name.clone(),
            view,
            requirements: spec.requirements.clone(),
            lock: lock_text,
            interpreter: spec.interpreter.clone(),
            distributions: members
                .into_iter()
                .map(|member| {
                    let requested = wanted.requested.contains(&member.name);
                    (member, requested)
                })
                .collect(),
            files: 0,
            bytes: 0,
        };
        self.catalog.put_environment(&stored)?;
        self.show()?;
        let stored = self.catalog.environment(&spec.name)?.unwrap_or(stored);
        Ok(Environment::of(stored))
    }

    /// What every environment of an interpreter has besides packages.
    fn venv(&self, interpreter: &Interpreter) -> Result<StoredDistribution, AddError> {
        let text = interpreter.pyvenv_cfg();
        let content = text.as_bytes();
        let digest = Digest::of(content);
        let (artifact, identity) = (format!("venv-{digest}"), interpreter.identity());
        if let Some(stored) = self.catalog.distribution(&artifact, &identity)? {
            return Ok(stored);
        }
        let appender = Appender::begin(&self.segments, self.catalog.begin_segment()?)?;
        let segment = appender.id();
        let read = |_, from, part: &mut [u8]| {
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            content.get(from..).and_then(|mut rest| rest.read_exact(part).ok());
            Ok(())
        };
        let sizes = [content.len() as u64];
        let (locations, bytes) = pack::write(appender, &sizes, read, &mut |_, _| {})?;
        let objects: Vec<_> =
            locations.into_iter().map(|location| NewObject { digest, location }).collect();
        let file = FileContent { object: Some(digest), executable: false };
        let new = NewDistribution {
            artifact: artifact.clone(),
            interpreter: identity.clone(),
            name: "venv".to_owned(),
            version: interpreter.version.clone(),
            digest,
            modules: Vec::new(),
            files: vec![("pyvenv.cfg".to_owned(), file)],
        };
        let stored = self.catalog.store(segment, bytes, &objects, &[new]);
        pack::entered(&self.segments, segment, stored)?;
        let stored = self.catalog.distribution(&artifact, &identity)?;
        stored.ok_or_else(|| AddError::Lock("what was just stored is not there".to_owned()))
    }

    /// The views of this repository.
    pub(crate) fn views(&self) -> Views<'_> {
        Views { catalog: &self.catalog, folder: &self.views }
    }

    pub(crate) fn folder(&self) -> Result<tempfile::TempDir, AddError> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir_in(&self.staging).map_err(AddError::at(&self.staging))?;
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), readable).map_err(AddError::at(folder.path()))?;
        Ok(folder)
    }
}

/// What to import of new distributions to see what that reads: what was asked for first, as
/// functions will.
fn to_import(incoming: &[Incoming], requested: &BTreeSet<String>) -> trace::Wanted {
    let modules_of = |one: &Incoming| one.staged.modules.clone();
    let (asked, other): (Vec<_>, Vec<_>) =
        incoming.iter().partition(|one| requested.contains(&one.staged.name));
    let explored: Vec<String> = asked.into_iter().flat_map(modules_of).collect();
    let modules = explored.iter().cloned().chain(other.into_iter().flat_map(modules_of));
    trace::Wanted { modules: modules.collect(), explored }
}

#[cfg(test)]
mod tests;
