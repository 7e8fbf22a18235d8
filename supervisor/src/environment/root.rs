//! The views of environments, for callers that mount them elsewhere.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pipsqueak_fs::{Environment, Lease, Owner, retained_name};

use super::shared::{Shared, lock};
use super::{Environments, EnvironmentsError};
use crate::mount::View;
use crate::mount::mountinfo::{Mount, Namespace};

/// Longest wait until the mount shows what the catalog says.
const PATIENCE: Duration = Duration::from_secs(10);

/// The environment that a name stands for.
#[derive(Debug)]
pub struct Root {
    /// View of the environment.
    pub view: Arc<View>,
    /// Path of its packages, below the view's root.
    pub site_packages: String,
}

impl Environments {
    /// The environment that a name stands for now. Blocks.
    pub fn root(&self, name: &str) -> Result<Root, EnvironmentsError> {
        let (environment, view, _lease) = self.shared.current(name)?;
        Ok(Root { view, site_packages: environment.interpreter.site_packages() })
    }

    /// Names and views of all environments that users have named, in the order of names. Blocks.
    pub fn named(&self) -> Result<Vec<(String, String)>, EnvironmentsError> {
        Ok(self.shared.repository.views_of(Owner::User)?)
    }

    /// Keeps these views in the mount, even if no name stands for them any more. Blocks.
    pub fn retain(&self, views: BTreeSet<String>) -> Result<(), EnvironmentsError> {
        let names: Vec<_> = views.iter().map(|view| retained_name(view)).collect();
        self.shared.repository.retain(views)?;
        let io = |error| EnvironmentsError::Io { name: names.join(", "), error };
        self.shared.publish(&names).map_err(io)
    }

    /// A view that a name stands for, or that is retained. Blocks.
    pub fn view(&self, view: &str) -> Result<Arc<View>, EnvironmentsError> {
        self.shared.view(view)
    }

    /// Views, of environments and distributions, that are mounted in these namespaces. Mounts of this
    /// instance, on its mount and on `exports`, do not count. Blocks.
    pub fn mounted(
        &self,
        namespaces: &[Namespace],
        exports: Option<&Mount>,
    ) -> Result<BTreeSet<String>, EnvironmentsError> {
        let places = self.shared.views.places(namespaces, exports);
        let mut views = places.views;
        for inode in places.inodes {
            views.extend(self.shared.repository.view_of(inode)?);
        }
        Ok(views)
    }
}

impl Shared {
    /// The environment that a name stands for now, and its view, which the lease keeps. Blocks.
    pub(super) fn current(
        &self,
        name: &str,
    ) -> Result<(Environment, Arc<View>, Lease), EnvironmentsError> {
        let until = Instant::now() + PATIENCE;
        let owed: Vec<_> = lock(&self.owed).iter().cloned().collect();
        if owed.iter().any(|owed| owed == name) {
            // Published again here, because nobody else would: the mount still shows what it was told last.
            let io = |error| EnvironmentsError::Io { name: name.to_owned(), error };
            self.publish(&owed).map_err(io)?;
        }
        loop {
            let stored = self.repository.environment(name)?;
            let environment = stored.ok_or_else(|| EnvironmentsError::Unknown(name.to_owned()))?;
            let lease = self.repository.lease(&environment.view);
            // A view that lost its name before the lease began may be collected, so the name is looked
            // up again.
            let is_current = || {
                let now = self.repository.environment(name)?;
                Ok::<_, EnvironmentsError>(now.is_some_and(|now| now.view == environment.view))
            };
            match self.view(&environment.view) {
                Ok(view) if is_current()? => return Ok((environment, view, lease)),
                Ok(_) => {}
                // The view is just being published.
                Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(error),
            }
        }
    }

    /// A view that the mount shows. Blocks.
    pub(super) fn view(&self, view: &str) -> Result<Arc<View>, EnvironmentsError> {
        let opened = self.views.open(view, self.repository.root(view)?);
        opened.map_err(|error| EnvironmentsError::Io { name: view.to_owned(), error })
    }
}
