//! Environments on the host: names in the mount lead to the folder of all views, on which the overlay
//! of all views is mounted. So the host has one overlay mount, however many names there are.

use std::io;
use std::path::PathBuf;

use pipsqueak_fs::{Mounted, ObjectId, SHOWN_FOLDER};
use pipsqueak_kernel::mount;

use super::Environments;
use super::shared::{Shared, lock};

impl Environments {
    /// Shows the overlay of all views on the host. A failure is logged only, because the folder below
    /// shows the same files. Blocks.
    pub fn host(&self) {
        self.shared.host();
    }
}

impl Shared {
    /// Makes the mount show what the catalog says now, at least for these names. Blocks until it does.
    pub(super) fn publish(&self, names: &[String]) -> io::Result<()> {
        let published = self.keeper.publish(names);
        let mut owed = lock(&self.owed);
        for name in names {
            if published.is_ok() {
                owed.remove(name);
            } else {
                owed.insert(name.clone());
            }
        }
        published
    }

    /// Exchanges the overlay after the files below it have changed. Blocks.
    pub(super) fn renew(&self) {
        self.views.renew();
        self.host();
    }

    /// Path at which the mount shows an environment.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.keeper.path().join("envs").join(name)
    }

    /// Mounts the overlay on the folder of all views, in the place of an earlier overlay.
    fn host(&self) {
        let place = self.keeper.path().join(SHOWN_FOLDER);
        let shown = mount::detach_all(&place).and_then(|()| self.views.attach_all(&place));
        if let Err(error) = shown {
            tracing::warn!(%error, "environments are on the host without an overlay");
        }
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
