//! What the host sees of environments that somebody has named: an overlay at `MOUNT/envs/NAME`.
//!
//! Those that functions share by their requirements have none, so that their number is not that of
//! the host's mounts.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use pipsqueak_fs::{Mounted, ObjectId, Owner};
use pipsqueak_kernel::mount;

use super::table::{Shared, lock};
use super::{Environments, EnvironmentsError};

impl Environments {
    /// Shows all environments that somebody has named on the host. What fails is logged: their folders
    /// are in the mount all the same. Blocks.
    pub fn host(&self) -> Result<(), EnvironmentsError> {
        let mut hosted = lock(&self.shared.hosted);
        for (name, _) in self.named()? {
            // On a mount that was taken over lie the overlays of an earlier supervisor.
            if let Err(error) = mount::detach_all(&self.shared.place(&name)) {
                tracing::warn!(%error, name, "unmounting what an earlier supervisor has mounted");
            }
            self.shared.host(&name, &mut hosted);
        }
        Ok(())
    }
}

impl Shared {
    /// Lets the mount show what the catalog says now, of these names above all, and the host as well.
    /// Blocks until they do.
    pub(super) fn publish(&self, names: &[String]) -> io::Result<()> {
        let mut hosted = lock(&self.hosted);
        // What lies on a name goes before the name does: an overlay believes that nothing changes.
        for name in names {
            if hosted.remove(name)
                && let Err(error) = mount::detach_all(&self.place(name))
            {
                tracing::warn!(%error, name, "unmounting what the host sees of an environment");
            }
        }
        let published = self.keeper.publish(names);
        let mut owed = lock(&self.owed);
        for name in names {
            if published.is_ok() {
                owed.remove(name);
            } else {
                owed.insert(name.clone());
            }
        }
        drop(owed);
        for name in names {
            self.host(name, &mut hosted);
        }
        published
    }

    /// Exchanges the overlay, because files below them are others now. Blocks.
    pub(super) fn renew(&self) {
        let mut hosted = lock(&self.hosted);
        self.views.renew();
        for name in hosted.clone() {
            self.host(&name, &mut hosted);
        }
    }

    /// Forgets views that the catalog knows no more.
    pub(super) fn forget_collected(&self) {
        self.views.retain(|digest, root| {
            // What is not known is kept.
            self.repository.view_of(root).map_or(true, |view| view.as_deref() == Some(digest))
        });
    }

    /// Where the mount shows an environment.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.keeper.path().join("envs").join(name)
    }

    fn host(&self, name: &str, hosted: &mut BTreeSet<String>) {
        if let Err(error) = self.try_host(name, hosted) {
            tracing::warn!(%error, name, "an environment is on the host without an overlay");
        }
    }

    /// Mounts what an environment's name stands for on its folder, over what may lie there.
    fn try_host(&self, name: &str, hosted: &mut BTreeSet<String>) -> Result<(), EnvironmentsError> {
        let environment = self.repository.environment(name)?;
        let Some(environment) = environment.filter(|one| one.owner == Owner::User) else {
            return Ok(());
        };
        let view = self.view(&environment.view)?;
        let place = self.place(name);
        if !view.is_overlay() || view.is_at(&place) {
            return Ok(());
        }
        let io = |error| EnvironmentsError::Io { name: name.to_owned(), error };
        view.attach(&place).map_err(io)?;
        hosted.insert(name.to_owned());
        Ok(())
    }
}

impl Mounted for Shared {
    fn reload(&self, names: &[String]) -> io::Result<()> {
        self.publish(names)
    }

    fn suspects(&self) -> io::Result<Vec<ObjectId>> {
        self.keeper.suspects()
    }
}
