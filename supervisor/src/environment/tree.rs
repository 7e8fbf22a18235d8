//! An installed environment, as sandboxes see it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipsqueak_fs::{Interpreter, Lease};
use pipsqueak_kernel::mount::{self, Access};
use tempfile::TempDir;

use crate::sandbox::{ENVIRONMENT, Mounted, RUNTIME};

/// An installed environment. Two of the same key hold the same distributions.
#[derive(Debug)]
pub struct Tree {
    /// Digest of its distributions and interpreter; of what it was asked for where it is private.
    pub key: String,
    /// Modules that a zygote of it imports.
    pub modules: Vec<String>,
    /// Its interpreter.
    pub interpreter: Interpreter,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A folder of the mount, held open: a later view of the same name is another folder. It is
    /// not collected meanwhile.
    View(OwnedFd, #[expect(dead_code, reason = "held for its drop")] Lease),
    /// A folder of its own, removed with its last user: the ssd tier is off.
    Private(Arc<TempDir>),
}

impl Tree {
    /// The environment whose view is at `path` in the mount.
    pub fn view(
        key: String,
        modules: Vec<String>,
        interpreter: Interpreter,
        path: &Path,
        lease: Lease,
    ) -> io::Result<Self> {
        let folder = File::open(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        Ok(Self { key, modules, interpreter, place: Place::View(folder.into(), lease) })
    }

    /// An environment installed in `folder`.
    pub fn private(
        key: String,
        modules: Vec<String>,
        interpreter: Interpreter,
        folder: Arc<TempDir>,
    ) -> Self {
        Self { key, modules, interpreter, place: Place::Private(folder) }
    }

    /// What a sandbox needs to see of it, detached and read-only.
    pub fn mounts(&self, runtime: &Path) -> io::Result<Vec<Mounted>> {
        let environment = match &self.place {
            Place::View(folder, _) => mount::take_open(folder.as_fd(), Access::ReadOnly)?,
            Place::Private(folder) => mount::take(folder.path(), Access::ReadOnly)?,
        };
        let mut mounts = vec![
            (PathBuf::from(ENVIRONMENT), environment),
            (PathBuf::from(RUNTIME), mount::take(runtime, Access::ReadOnly)?),
        ];
        mounts.extend(interpreter_mount(&self.interpreter)?);
        Ok(mounts)
    }

    /// What must be kept as long as a sandbox sees it.
    pub fn keeps(&self) -> Option<Arc<TempDir>> {
        match &self.place {
            Place::View(..) => None,
            Place::Private(folder) => Some(folder.clone()),
        }
    }
}

/// The interpreter's folder, where it is not among the system's.
pub fn interpreter_mount(interpreter: &Interpreter) -> io::Result<Option<Mounted>> {
    let prefix = &interpreter.base_prefix;
    if prefix.starts_with("/usr") {
        return Ok(None);
    }
    Ok(Some((prefix.clone(), mount::take(prefix, Access::ReadOnly)?)))
}
