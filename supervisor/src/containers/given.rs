//! Exports and volumes that containers have, and the description of environments as devices.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipsqueak::settings::Settings;
use pipsqueak::wire::Export;
use pipsqueak_fs::FIXED_PREFIX;

use super::cdi;
use super::claim::Claim;
use super::engine::Engine;
use super::error::ContainersError;
use super::exports::Exports;
use super::volumes::{Mounted, Volume, Volumes};
use crate::environment::{Environments, Root};
use crate::mount::mountinfo::{self, Namespace};
use crate::sync::{Mutex, lock};

/// Path at which containers bind an export, so that they see their environment at the path that sandboxes have.
const TARGET: &str = "/pipsqueak";

/// All that containers have of an instance, but for the socket by which engines ask.
#[derive(Debug)]
pub struct Given {
    environments: Arc<Environments>,
    /// The description of environments as devices, if it is in use and this instance's.
    devices: Mutex<Option<Claim>>,
    /// `None` once it is stopped.
    inner: Mutex<Option<Inner>>,
}

#[derive(Debug)]
struct Inner {
    exports: Exports,
    volumes: Volumes,
}

impl Given {
    /// Gives back what an earlier supervisor's containers had. Blocks.
    pub fn start(
        settings: &Settings,
        environments: Arc<Environments>,
    ) -> Result<Self, ContainersError> {
        let inner = Inner {
            exports: Exports::new(&settings.state, &settings.run),
            volumes: Volumes::open(&settings.state)?,
        };
        let given = Self {
            environments,
            devices: Mutex::new(settings.cdi.as_ref().and_then(|path| claim(path, "CDI devices"))),
            inner: Mutex::new(Some(inner)),
        };
        given.restore()?;
        given.update()?;
        Ok(given)
    }

    /// The file that describes environments as devices, if this instance has it.
    pub fn devices(&self) -> Option<PathBuf> {
        lock(&self.devices).as_ref().map(|claim| claim.path().to_owned())
    }

    /// Views of environments and distributions that containers have, sandboxes among them: bound from
    /// an export, or anything else that shows a view, in any mount namespace of the machine, or mounted
    /// as a volume. Found out anew by each call. Blocks.
    ///
    /// Without a container that is just being made with the arguments of an environment that has
    /// changed since: what it was to bind is gone, and its engine says so.
    pub fn views_in_use(&self) -> Result<BTreeSet<String>, ContainersError> {
        let namespaces = mountinfo::everywhere()?;
        let (mut views, exports) =
            self.with(|inner| Ok((inner.in_use(&namespaces)?, inner.exports.shared()?)))?;
        views.extend(self.environments.mounted(&namespaces, exports.as_ref())?);
        Ok(views)
    }

    /// Exports an environment. Blocks.
    pub fn export_now(&self, name: &str) -> Result<Export, ContainersError> {
        let root = self.environments.root(name)?;
        self.with(|inner| Ok(inner.export(&root)?))
    }

    /// Exports what is to be a device, describes it, and removes exports that nobody can want.
    pub fn update(&self) -> Result<(), ContainersError> {
        let devices = lock(&self.devices);
        let named = self.environments.named()?;
        if let Some(claim) = devices.as_ref() {
            let mut described = Vec::new();
            for (name, _) in named.iter().filter(|(name, _)| cdi::can_name_a_device(name)) {
                match self.export_now(name) {
                    Ok(export) => described.push((name.clone(), export)),
                    // It has gone meanwhile, or cannot be shown.
                    Err(error) => tracing::warn!(%error, "an environment is no device"),
                }
            }
            cdi::write(claim.path(), &described)?;
        }
        self.with(|inner| {
            let mut wanted = inner.in_use(&mountinfo::everywhere()?)?;
            wanted.extend(named.into_iter().map(|(_, view)| view));
            for view in inner.exports.views()?.difference(&wanted) {
                inner.exports.remove(view)?;
            }
            Ok(())
        })
    }

    /// Exchanges what is exported of views of which files are others now. Blocks.
    pub fn renew_now(&self) -> Result<(), ContainersError> {
        self.with(|inner| {
            for exported in inner.exports.views()? {
                match self.environments.view(&exported) {
                    Ok(view) => inner.exports.renew(&view)?,
                    // An earlier supervisor has left it, and nobody can have it.
                    Err(error) => tracing::debug!(%error, exported, "an export is as it was"),
                }
            }
            Ok(())
        })
    }

    /// Makes a volume of an environment, or finds the one that was made so before.
    pub fn create_volume(&self, name: &str, environment: &str) -> Result<(), ContainersError> {
        // Must be there now: what an engine is told later comes too late for its user.
        self.environments.root(environment)?;
        self.with(|inner| {
            if let Some(found) = inner.volumes.all().get(name) {
                if found.environment == environment {
                    return Ok(());
                }
                let (name, environment) = (name.to_owned(), found.environment.clone());
                return Err(ContainersError::Exists { name, environment });
            }
            let volume = Volume { environment: environment.to_owned(), mounts: BTreeMap::new() };
            Ok(inner.volumes.change(|all| drop(all.insert(name.to_owned(), volume)))?)
        })
    }

    /// Removes a volume that no container has.
    pub fn remove_volume(&self, name: &str) -> Result<(), ContainersError> {
        self.with(|inner| {
            inner.in_use(&mountinfo::everywhere()?)?;
            if !inner.volume(name)?.mounts.is_empty() {
                return Err(ContainersError::Mounted(name.to_owned()));
            }
            Ok(inner.volumes.change(|all| drop(all.remove(name)))?)
        })
    }

    /// Path from which an engine's container that it calls `id` has to bind a volume.
    pub fn mount_volume(
        &self,
        name: &str,
        id: &str,
        by: Engine,
    ) -> Result<PathBuf, ContainersError> {
        let environment = self.with(|inner| Ok(inner.volume(name)?.environment.clone()))?;
        let root = self.environments.root(&environment)?;
        self.with(|inner| {
            inner.volume(name)?;
            let source = inner.export(&root)?.source;
            let mounted = Mounted::now(root.view.digest().to_owned(), by);
            inner.volumes.change(|all| {
                if let Some(volume) = all.get_mut(name) {
                    volume.mounts.insert(id.to_owned(), mounted);
                }
            })?;
            Ok(source)
        })
    }

    /// Takes note that the container `id` has a volume no longer.
    pub fn unmount_volume(&self, name: &str, id: &str) -> Result<(), ContainersError> {
        self.with(|inner| {
            inner.volume(name)?;
            inner.volumes.change(|all| {
                if let Some(volume) = all.get_mut(name) {
                    volume.mounts.remove(id);
                }
            })?;
            Ok(())
        })
    }

    /// All volumes by name, and where those that are mounted are.
    pub fn volumes(&self) -> Result<BTreeMap<String, (Volume, Option<PathBuf>)>, ContainersError> {
        self.with(|inner| {
            let described = inner.volumes.all().iter().map(|(name, volume)| {
                let last = volume.mounts.values().max_by_key(|mounted| mounted.since);
                let source = last.map(|mounted| inner.exports.source(&mounted.view));
                (name.clone(), (volume.clone(), source))
            });
            Ok(described.collect())
        })
    }

    /// Takes everything back. Containers that have it see an empty folder until an instance with
    /// the same folders starts. Blocks.
    pub fn stop(&self) -> Result<(), ContainersError> {
        drop(lock(&self.devices).take());
        let Some(inner) = lock(&self.inner).take() else { return Ok(()) };
        let bound = inner.exports.bound(&mountinfo::everywhere()?)?;
        for view in inner.exports.views()? {
            if bound.contains(&view) {
                inner.exports.withdraw(&view)?;
            } else {
                inner.exports.remove(&view)?;
            }
        }
        if bound.is_empty() {
            inner.exports.close()?;
        } else {
            tracing::warn!(
                environments = bound.len(),
                "containers that run have environments, and are without until the next start"
            );
        }
        Ok(())
    }

    /// Leaves everything to the next supervisor, which takes the mount over. Blocks.
    pub fn leave(&self) {
        drop(lock(&self.devices).take());
        drop(lock(&self.inner).take());
    }

    /// Mounts again what an earlier supervisor has exported: its containers may be running still,
    /// also with views that no environment's name stands for any more.
    fn restore(&self) -> Result<(), ContainersError> {
        let named = self.environments.named()?;
        self.with(|inner| {
            let in_use = inner.in_use(&mountinfo::everywhere()?)?;
            self.environments.retain(in_use.clone())?;
            for view in inner.exports.views()? {
                if !in_use.contains(&view) && !named.iter().any(|(_, current)| *current == view) {
                    continue;
                }
                let shown = self.environments.view(&view).map_err(ContainersError::from);
                let exported = shown.and_then(|view| Ok(inner.exports.export(&view)?));
                if let Err(error) = exported {
                    tracing::error!(%error, view, "containers cannot be given back a view");
                }
            }
            Ok(())
        })
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut Inner) -> Result<T, ContainersError>,
    ) -> Result<T, ContainersError> {
        act(lock(&self.inner).as_mut().ok_or(ContainersError::Stopping)?)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "taking back what containers have");
        }
    }
}

impl Inner {
    fn in_use(&mut self, namespaces: &[Namespace]) -> io::Result<BTreeSet<String>> {
        let mut views = self.exports.bound(namespaces)?;
        views.extend(self.volumes.held(&views)?);
        Ok(views)
    }

    fn volume(&self, name: &str) -> Result<&Volume, ContainersError> {
        let volume = self.volumes.all().get(name);
        volume.ok_or_else(|| ContainersError::UnknownVolume(name.to_owned()))
    }

    fn export(&self, root: &Root) -> io::Result<Export> {
        self.exports.export(&root.view)?;
        let packages = format!("{FIXED_PREFIX}/{}", root.site_packages);
        Ok(Export {
            source: self.exports.source(root.view.digest()),
            target: TARGET.into(),
            variables: [("PYTHONPATH".to_owned(), packages)].into(),
        })
    }
}

/// Takes a path that a machine has once; without it the instance does without.
pub fn claim(path: &Path, what: &str) -> Option<Claim> {
    Claim::take(path).inspect_err(|error| tracing::warn!(%error, "without {what}")).ok()
}
