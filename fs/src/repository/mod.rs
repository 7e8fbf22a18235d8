//! All of the ssd tier that is on disk: store, catalog, views. What the supervisor uses.

mod add;
mod clock;
mod dependencies;
mod environment;
mod hold;
mod imports;
mod learned;
mod mounted;
mod pins;
mod publish;
mod reserve;
mod shown;
mod subset;

use std::collections::{BTreeSet, HashSet};
use std::error::Error;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::catalog::{Catalog, CatalogError, Owner};
use crate::ingest::AddError;
use crate::ingest::archive::cache::ArchiveCache;
use crate::ingest::archive::downloads::Downloads;
use crate::ingest::archive::staging::Memory;
use crate::ingest::claims::Claims;
use crate::ingest::resolve::search_scope::IndexOptions;
use crate::store::StoreError;
use crate::store::local::Local;
use crate::store::segments::Segments;
use crate::sync::{Mutex, MutexGuard};
use crate::view::publish::{ViewError, Views};
use clock::Clock;
use hold::Holds;
use reserve::Reserve;

pub use environment::{Distribution, Environment, EnvironmentSpec, Plain};
pub use imports::Imports;
pub use mounted::Mounted;
pub use pins::Lease;
pub use shown::retained_name;
pub use subset::Subset;

/// Reason why a repository could not be opened or read.
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
    Mount(#[source] io::Error),
    /// There is nothing of that name.
    #[error(
        "there is no environment or distribution {0}; `pipsqueak store du` lists those there are"
    )]
    Unknown(String),
}

impl RepositoryError {
    /// True if there was no room on the disk.
    pub(crate) fn is_full(&self) -> bool {
        let is_full = |error: &(dyn Error + 'static)| {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return error.kind() == io::ErrorKind::StorageFull;
            }
            let database = error.downcast_ref::<rusqlite::Error>();
            let code = database.and_then(rusqlite::Error::sqlite_error_code);
            code == Some(rusqlite::ErrorCode::DiskFull)
        };
        let mut next = self.source();
        while let Some(error) = next {
            if is_full(error) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// The repository in a state folder.
#[derive(Debug)]
pub struct Repository {
    pub(crate) segments: Arc<dyn Segments>,
    pub(crate) views: PathBuf,
    pub(crate) staging: PathBuf,
    /// Memory for wheels that are being unpacked, besides that folder.
    memory: Option<Arc<Memory>>,
    pub(crate) downloads: Downloads,
    pub(crate) archive_cache: ArchiveCache,
    pub(crate) built: PathBuf,
    pub(crate) uv: PathBuf,
    mount: PathBuf,
    pub(crate) index: IndexOptions,
    pub(crate) catalog: Catalog,
    /// Views that are shown although no environment's name stands for them.
    retained: Mutex<BTreeSet<String>>,
    /// Views of parts of environments, which are shown until they are collected.
    subsets: Mutex<BTreeSet<String>>,
    /// Lock for one change at a time; resolving and downloading go on beside it.
    committing: Mutex<()>,
    claims: Claims,
    /// Artifacts, and the interpreters that they are for, which additions count on.
    pub(crate) held_artifacts: Holds<(String, String)>,
    /// Digests of the views that something runs in.
    pub(crate) held_views: Holds<String>,
    /// Room for collections on a disk that is full.
    pub(crate) reserve: Reserve,
    /// Clock by which grace periods are measured.
    pub(crate) clock: Clock,
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
        index: IndexOptions,
    ) -> Result<Self, RepositoryError> {
        let segments = Local::of(state);
        segments.create()?;
        Self::open_with(state, cache, uv, mount, index, segments)
    }

    /// Opens the repository with `segments` in the place of those in the state folder.
    pub(crate) fn open_with(
        state: &Path,
        cache: &Path,
        uv: PathBuf,
        mount: PathBuf,
        index: IndexOptions,
        segments: Arc<dyn Segments>,
    ) -> Result<Self, RepositoryError> {
        let catalog = {
            fs::create_dir_all(state).map_err(StoreError::at(state))?;
            Catalog::open(&state.join("catalog.sqlite"))?
        };
        let repository = Self {
            reserve: Reserve::of(state),
            clock: Clock::from(catalog.time()?),
            segments,
            views: state.join("views"),
            staging: state.join("staging"),
            memory: None,
            downloads: Downloads::open(cache).map_err(StoreError::at(cache))?,
            archive_cache: ArchiveCache::open(cache).map_err(StoreError::at(cache))?,
            built: cache.join("built"),
            uv,
            mount,
            index,
            catalog,
            retained: Mutex::default(),
            subsets: Mutex::default(),
            committing: Mutex::new(()),
            claims: Claims::default(),
            held_artifacts: Holds::default(),
            held_views: Holds::default(),
        };
        let left = fs::read_dir(&repository.staging).into_iter().flatten().flatten();
        let left: Vec<PathBuf> = left.map(|entry| entry.path()).collect();
        beside(move || remove(&left));
        let folders = [&repository.views, &repository.staging];
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

    /// Has wheels unpacked in a file system in memory that is below the folder `root` and has `size` bytes,
    /// as far as there is room.
    #[must_use]
    pub fn with_memory(self, root: OwnedFd, size: u64) -> Self {
        Self { memory: Some(Arc::new(Memory::new(root, size))), ..self }
    }

    fn clear_unfinished(&self) -> Result<(), RepositoryError> {
        self.catalog.forget_unsealed()?;
        self.segments.clear(&self.catalog.sealed_segments()?)?;
        let views: HashSet<String> = self.catalog.view_digests()?.into_iter().collect();
        let finished = |path: &Path| {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("index") => views.contains(stem),
                extension => extension != Some("new"),
            }
        };
        for entry in fs::read_dir(&self.views).map_err(StoreError::at(&self.views))? {
            let path = entry.map_err(StoreError::at(&self.views))?.path();
            if !finished(&path) {
                fs::remove_file(&path).map_err(StoreError::at(&path))?;
            }
        }
        Ok(())
    }

    /// All environments, by name.
    pub fn environments(&self) -> Result<Vec<Environment>, RepositoryError> {
        let names = self.catalog.environment_names()?;
        let all = names.iter().filter_map(|name| self.environment(name).transpose());
        all.collect()
    }

    /// Names of all environments of an owner, in order, and the view of each.
    pub fn views_of(&self, owner: Owner) -> Result<Vec<(String, String)>, RepositoryError> {
        Ok(self.catalog.views_of(owner)?)
    }

    /// Returns an environment by its name.
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
        self.committing.lock()
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

/// Does something while others go on, such as removing folders: where a file system tells the disk of each
/// file's end, as ext4 does with `discard`, that takes as long as all that was done in them. What is
/// cut off is removed by the next start.
fn beside(act: impl FnOnce() + Send + 'static) {
    let begun = thread::Builder::new().name("removing".to_owned()).spawn(act);
    if let Err(error) = begun {
        tracing::warn!(%error, "what nobody needs stays until the next start");
    }
}

fn remove(folders: &[PathBuf]) {
    for folder in folders {
        if let Err(error) = fs::remove_dir_all(folder) {
            tracing::warn!(%error, folder = %folder.display(), "what nobody needs stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_however_deep_it_is_told() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let in_view = |source| ViewError::File { path: "/view".into(), source };
        for error in [
            RepositoryError::View(in_view(full())),
            RepositoryError::Write(AddError::View(in_view(full()))),
            RepositoryError::Mount(full()),
        ] {
            assert!(error.is_full(), "{error}");
        }
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(!RepositoryError::View(in_view(denied)).is_full());
        assert!(!RepositoryError::Unknown("x".to_owned()).is_full());
    }
}
