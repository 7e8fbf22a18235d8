//! Environments in unmodified containers: folders to bind, volumes, devices.
//!
//! `given` is all that containers have: `exports` are the folders that they bind, `volumes` are Docker's, and `cdi`
//! describes environments as devices. `serve` is the socket on which engines ask for volumes, by `protocol`. A
//! `claim` says which of several instances the socket and the description belong to, and an `engine` is the process
//! that asked for a volume.

mod cdi;
mod claim;
mod engine;
mod error;
mod exports;
mod given;
mod protocol;
mod serve;
mod volumes;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use pipsqueak::settings::Settings;
use pipsqueak::wire::{ContainersStatus, Export};
use tokio::runtime::Handle;

pub use self::error::ContainersError;
use self::given::{Given, claim};
use self::serve::Driver;
use crate::environment::Environments;
use crate::sync::{Mutex, lock};

/// Environments that containers have, and the socket by which engines ask for them.
#[derive(Debug)]
pub struct Containers {
    /// The server of the volume driver's socket, if that is in use and this instance's. It is dropped first.
    driver: Mutex<Option<Driver>>,
    given: Arc<Given>,
}

impl Containers {
    /// Gives back what an earlier supervisor's containers had, and serves new ones. Blocks.
    pub fn start(
        settings: &Settings,
        environments: Arc<Environments>,
        runtime: &Handle,
    ) -> Result<Arc<Self>, ContainersError> {
        let given = Arc::new(Given::start(settings, environments)?);
        let socket = settings.docker_plugin.as_ref();
        let claimed = socket.and_then(|path| claim(path, "Docker's volumes"));
        let driver = claimed.and_then(|claim| {
            Driver::start(claim, &given, runtime)
                .inspect_err(|error| tracing::warn!(%error, "without Docker's volumes"))
                .ok()
        });
        Ok(Arc::new(Self { driver: Mutex::new(driver), given }))
    }

    /// Views of environments and distributions that containers have, as `Given` tells them. Blocks.
    pub fn views_in_use(&self) -> Result<BTreeSet<String>, ContainersError> {
        self.given.views_in_use()
    }

    /// Variant of [`Self::views_in_use`] that does not block.
    pub async fn used(&self) -> Result<BTreeSet<String>, ContainersError> {
        self.blocking(Given::views_in_use).await
    }

    /// Views that containers have, and the ways by which they get them.
    pub async fn status(&self) -> Result<ContainersStatus, ContainersError> {
        Ok(ContainersStatus {
            views: self.used().await?.into_iter().collect(),
            docker_plugin: lock(&self.driver).as_ref().map(|driver| driver.path().to_owned()),
            cdi: self.given.devices(),
        })
    }

    /// Exports an environment, for a container that is about to be made.
    pub async fn export(&self, name: String) -> Result<Export, ContainersError> {
        self.blocking(move |given| given.export_now(&name)).await
    }

    /// Follows the environments that have come, changed or gone. What fails is logged: the
    /// environments are what they are.
    pub async fn follow(&self) {
        if let Err(error) = self.blocking(Given::update).await {
            tracing::error!(%error, "giving containers what environments are now");
        }
    }

    /// Exchanges what containers are shown of views of which files are others now. What fails is
    /// logged: other files of those views are right.
    pub async fn renew(&self) {
        if let Err(error) = self.blocking(Given::renew_now).await {
            tracing::error!(%error, "giving containers what was repaired");
        }
    }

    /// Takes everything back. Containers that have it see an empty folder until an instance with
    /// the same folders starts. Blocks.
    pub fn stop(&self) -> Result<(), ContainersError> {
        // First, so that no engine asks for anything of what is taken back.
        drop(lock(&self.driver).take());
        self.given.stop()
    }

    /// Leaves everything to the next supervisor, which takes the mount over. Blocks.
    pub fn leave(&self) {
        drop(lock(&self.driver).take());
        self.given.leave();
    }

    /// Has a thread that may block do something.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Given) -> Result<T, ContainersError> + Send + 'static,
    ) -> Result<T, ContainersError> {
        let given = self.given.clone();
        tokio::task::spawn_blocking(move || act(&given)).await.map_err(io::Error::other)?
    }
}
