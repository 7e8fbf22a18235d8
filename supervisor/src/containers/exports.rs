//! Folders that containers bind, each with the view of one environment mounted in it.
//!
//! ```text
//! STATE/exports/DIGEST/env   empty folders, one pair a view
//! RUN/exports                the same folders, mounted read-only and shared
//! RUN/exports/DIGEST/env     the view
//! ```
//!
//! A bind of a view itself holds that mount for ever, also when what served it is gone. A container
//! binds the folder around it instead, as a slave of the shared mount: views that are mounted there
//! later, and unmounted, are so in the container too. Hence the shared mount outlives the
//! supervisor while some container has a slave of it.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use pipsqueak_kernel::mount::{self, Access};

use crate::machine::files::at;
use crate::mount::View;
use crate::mount::mountinfo::{self, Mount, Namespace};

/// Folder in which an export has its view, and containers their environment below what they bind.
const VIEW: &str = "env";

/// The exports of an instance.
#[derive(Debug)]
pub struct Exports {
    folders: PathBuf,
    shared: PathBuf,
}

impl Exports {
    /// The exports of the instance with these folders. Nothing is mounted yet.
    pub fn new(state: &Path, run: &Path) -> Self {
        Self { folders: state.join("exports"), shared: run.join("exports") }
    }

    /// The path that a container bind-mounts to get a view.
    pub fn source(&self, view: &str) -> PathBuf {
        self.shared.join(view)
    }

    /// Views that have an export, mounted or left by an earlier supervisor.
    pub fn views(&self) -> io::Result<BTreeSet<String>> {
        let entries = match fs::read_dir(&self.folders) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries.map_err(at(&self.folders))?,
        };
        let names = entries.map(|entry| Ok(entry.map_err(at(&self.folders))?.file_name()));
        let names: io::Result<Vec<_>> = names.collect();
        Ok(names?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Exports a view.
    pub fn export(&self, view: &View) -> io::Result<()> {
        self.share()?;
        let folder = self.folders.join(view.digest());
        make_folder(&folder)?;
        make_folder(&folder.join(VIEW))?;
        let place = self.source(view.digest()).join(VIEW);
        if view.is_at(&place) {
            return Ok(());
        }
        // Of a mount that nobody serves any more.
        unmount_all(&place)?;
        view.attach(&place).map_err(at(&place))
    }

    /// Exchanges the mount of a view that is exported. Containers see one or the other at all times.
    pub fn renew(&self, view: &View) -> io::Result<()> {
        let place = self.source(view.digest()).join(VIEW);
        if view.is_at(&place) { Ok(()) } else { view.attach(&place).map_err(at(&place)) }
    }

    /// Takes a view back, also from containers that have it.
    pub fn withdraw(&self, view: &str) -> io::Result<()> {
        unmount_all(&self.source(view).join(VIEW))
    }

    /// Takes a view back and removes what was bound, which no container may have any more.
    pub fn remove(&self, view: &str) -> io::Result<()> {
        self.withdraw(view)?;
        let folder = self.folders.join(view);
        fs::remove_dir_all(&folder).map_err(at(&folder))
    }

    /// Unmounts what was shared, for which all must have been removed.
    pub fn close(&self) -> io::Result<()> {
        unmount_all(&self.shared)?;
        for folder in [&self.shared, &self.folders] {
            match fs::remove_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at(folder)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The mount that has all exports, if it is there.
    pub fn shared(&self) -> io::Result<Option<Mount>> {
        Ok(mountinfo::own()?.at(&self.shared).cloned())
    }

    /// Views whose export is bound somewhere in these namespaces.
    pub fn bound(&self, namespaces: &[Namespace]) -> io::Result<BTreeSet<String>> {
        let Some(shared) = self.shared()? else { return Ok(BTreeSet::new()) };
        let mounts = namespaces.iter().flat_map(|namespace| &namespace.mounts);
        let of_ours = mounts.filter(|mount| mount.device == shared.device);
        let views = of_ours.filter_map(|mount| mountinfo::first_part(&mount.root, &shared.root));
        Ok(views.map(ToOwned::to_owned).collect())
    }

    /// Lets mounts below the folders propagate, and nobody write there through them.
    fn share(&self) -> io::Result<()> {
        make_folder(&self.folders)?;
        let wanted = fs::metadata(&self.folders).map_err(at(&self.folders))?;
        if fs::metadata(&self.shared).is_ok_and(|found| is_same(&found, &wanted)) {
            return Ok(());
        }
        unmount_all(&self.shared)?;
        make_folder(&self.shared)?;
        let failed = at(&self.shared);
        let tree = mount::take(&self.folders, Access::ReadOnly).map_err(&failed)?;
        mount::attach(tree.as_fd(), &self.shared).map_err(&failed)?;
        let none = None::<&str>;
        let shared = nix::mount::mount(none, &self.shared, none, MsFlags::MS_SHARED, none);
        shared.map_err(|error| failed(error.into()))
    }
}

fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Makes a folder that everybody may look into, whatever the umask.
fn make_folder(path: &Path) -> io::Result<()> {
    let made = fs::create_dir_all(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755))).map_err(at(path))
}

fn unmount_all(path: &Path) -> io::Result<()> {
    mount::detach_all(path).map_err(at(path))
}
