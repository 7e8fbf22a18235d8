//! What unmodified containers have of environments: folders to bind, volumes, devices.
//!
//! `exports` are the folders that containers bind; `volumes` are Docker's, which `protocol` asks
//! for through the socket of `serve`; `cdi` describes environments as devices. A `claim` says whose
//! the socket and the description are where several instances run, and an `engine` is who asked for a
//! volume.

mod cdi;
mod claim;
mod engine;
mod exports;
mod protocol;
mod serve;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipsqueak::settings::Settings;
use pipsqueak::wire::{ContainersStatus, Export};
use pipsqueak_fs::FIXED_PREFIX;
use tokio::runtime::Handle;

use self::claim::Claim;
use self::engine::Engine;
use self::exports::Exports;
use self::serve::Driver;
use self::volumes::{Mounted, Volume, Volumes};
use crate::environment::{Environments, EnvironmentsError, Root};
use crate::mount::mountinfo::{self, Namespace};

/// Where containers bind an export, so that they see their environment where sandboxes do.
const TARGET: &str = "/pipsqueak";

/// Why containers could not be given something.
#[derive(Debug, thiserror::Error)]
pub enum ContainersError {
    /// There is no volume of that name.
    #[error("there is no volume {0}; `docker volume ls` lists those there are")]
    UnknownVolume(String),
    /// There is one of that name that is another.
    #[error("volume {name} exists and shows environment {environment}; remove it first")]
    Exists {
        /// The volume.
        name: String,
        /// What it shows.
        environment: String,
    },
    /// A container has it.
    #[error("volume {0} is mounted in a container; stop that first")]
    Mounted(String),
    /// A volume cannot be made as asked.
    #[error("a volume has the option env=NAME and no other; {0:?} is not known")]
    Option(String),
    /// The environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentsError),
    /// Folders, mounts, or the list of volumes.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is too late.
    #[error("the supervisor is stopping")]
    Stopping,
}

/// What containers have.
#[derive(Debug)]
pub struct Containers {
    environments: Arc<Environments>,
    /// The description of environments as devices, where it is in use and this instance's.
    devices: Mutex<Option<Claim>>,
    /// What serves the volume driver's socket, where it is in use and this instance's.
    driver: Mutex<Option<Driver>>,
    /// `None` once it is stopped.
    inner: Mutex<Option<Inner>>,
}

#[derive(Debug)]
struct Inner {
    exports: Exports,
    volumes: Volumes,
}

impl Containers {
    /// Gives back what an earlier supervisor's containers had, and serves new ones. Blocks.
    pub fn start(
        settings: &Settings,
        environments: Arc<Environments>,
        runtime: &Handle,
    ) -> Result<Arc<Self>, ContainersError> {
        let inner = Inner {
            exports: Exports::new(&settings.state, &settings.run),
            volumes: Volumes::open(&settings.state)?,
        };
        let containers = Arc::new(Self {
            environments,
            devices: Mutex::new(settings.cdi.as_ref().and_then(|path| claim(path, "CDI devices"))),
            driver: Mutex::default(),
            inner: Mutex::new(Some(inner)),
        });
        containers.restore()?;
        containers.update()?;
        let socket = settings.docker_plugin.as_ref();
        if let Some(claim) = socket.and_then(|path| claim(path, "Docker's volumes")) {
            match Driver::start(claim, &containers, runtime) {
                Ok(driver) => *lock(&containers.driver) = Some(driver),
                Err(error) => tracing::warn!(%error, "without Docker's volumes"),
            }
        }
        Ok(containers)
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

    /// The same, for who must not block.
    pub async fn used(self: &Arc<Self>) -> Result<BTreeSet<String>, ContainersError> {
        let containers = self.clone();
        let views = tokio::task::spawn_blocking(move || containers.views_in_use());
        views.await.map_err(io::Error::other)?
    }

    /// What containers have, and by which ways.
    pub async fn status(self: &Arc<Self>) -> Result<ContainersStatus, ContainersError> {
        Ok(ContainersStatus {
            views: self.used().await?.into_iter().collect(),
            docker_plugin: lock(&self.driver).as_ref().map(|driver| driver.path().to_owned()),
            cdi: lock(&self.devices).as_ref().map(|claim| claim.path().to_owned()),
        })
    }

    /// Exports an environment, for a container that is about to be made.
    pub async fn export(self: &Arc<Self>, name: String) -> Result<Export, ContainersError> {
        let containers = self.clone();
        let exported = tokio::task::spawn_blocking(move || containers.export_now(&name));
        exported.await.map_err(io::Error::other)?
    }

    /// Follows the environments that have come, changed or gone. What fails is logged: the
    /// environments are what they are.
    pub async fn follow(self: &Arc<Self>) {
        let containers = self.clone();
        let updated = tokio::task::spawn_blocking(move || containers.update());
        match updated.await.map_err(|error| ContainersError::Io(io::Error::other(error))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => {
                tracing::error!(%error, "giving containers what environments are now");
            }
        }
    }

    /// Exchanges what containers are shown of views of which files are others now. What fails is
    /// logged: other files of those views are right.
    pub async fn renew(self: &Arc<Self>) {
        let containers = self.clone();
        let renewed = tokio::task::spawn_blocking(move || containers.renew_now());
        match renewed.await.map_err(|error| ContainersError::Io(io::Error::other(error))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => {
                tracing::error!(%error, "giving containers what was repaired");
            }
        }
    }

    /// Takes everything back. Containers that have it see an empty folder until an instance with
    /// the same folders starts. Blocks.
    pub fn stop(&self) -> Result<(), ContainersError> {
        drop(lock(&self.driver).take());
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
        drop(lock(&self.driver).take());
        drop(lock(&self.devices).take());
        drop(lock(&self.inner).take());
    }

    fn export_now(&self, name: &str) -> Result<Export, ContainersError> {
        let root = self.environments.root(name)?;
        self.with(|inner| Ok(inner.export(&root)?))
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

    fn renew_now(&self) -> Result<(), ContainersError> {
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

    /// Exports what is to be a device, describes it, and removes exports that nobody can want.
    fn update(&self) -> Result<(), ContainersError> {
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

    /// Makes a volume of an environment, or finds the one that was made so before.
    fn create_volume(&self, name: &str, environment: &str) -> Result<(), ContainersError> {
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

    fn remove_volume(&self, name: &str) -> Result<(), ContainersError> {
        self.with(|inner| {
            inner.in_use(&mountinfo::everywhere()?)?;
            if !inner.volume(name)?.mounts.is_empty() {
                return Err(ContainersError::Mounted(name.to_owned()));
            }
            Ok(inner.volumes.change(|all| drop(all.remove(name)))?)
        })
    }

    /// Where an engine's container that it calls `id` has to bind a volume from.
    fn mount_volume(&self, name: &str, id: &str, by: Engine) -> Result<PathBuf, ContainersError> {
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

    fn unmount_volume(&self, name: &str, id: &str) -> Result<(), ContainersError> {
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
    fn volumes(&self) -> Result<BTreeMap<String, (Volume, Option<PathBuf>)>, ContainersError> {
        self.with(|inner| {
            let described = inner.volumes.all().iter().map(|(name, volume)| {
                let last = volume.mounts.values().max_by_key(|mounted| mounted.since);
                let source = last.map(|mounted| inner.exports.source(&mounted.view));
                (name.clone(), (volume.clone(), source))
            });
            Ok(described.collect())
        })
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut Inner) -> Result<T, ContainersError>,
    ) -> Result<T, ContainersError> {
        act(lock(&self.inner).as_mut().ok_or(ContainersError::Stopping)?)
    }
}

impl Drop for Containers {
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
fn claim(path: &std::path::Path, what: &str) -> Option<Claim> {
    Claim::take(path).inspect_err(|error| tracing::warn!(%error, "without {what}")).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
