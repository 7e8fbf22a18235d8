//! Mounts that no list of mounts shows, and that can be copied.
//!
//! A mount that is attached nowhere is as hidden, but before Linux 6.15 only mounts of the caller's own
//! mount namespace can be copied. So there is a namespace for them, which nothing runs in: a thread that wants a
//! copy goes there for a moment.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};
use pipsqueak_kernel::mount::{self as tree, Access};

/// A mount namespace whose root is an empty folder and the mounts that are added.
#[derive(Debug)]
pub struct HiddenMounts {
    namespace: File,
    added: AtomicU64,
}

/// One of them, which goes when it is dropped.
#[derive(Debug)]
pub struct HiddenMount {
    all: Arc<HiddenMounts>,
    place: PathBuf,
    tree: OwnedFd,
}

impl HiddenMounts {
    /// With none yet. Blocks.
    pub fn new() -> io::Result<Self> {
        let namespace = tree::elsewhere(|| {
            tree::own_namespace()?;
            let namespace = File::open("/proc/thread-self/ns/mnt")?;
            // Any folder will do, and this one is there. Nothing of the host's stays: what is mounted
            // in a namespace is in use.
            let root = "/proc";
            mount(Some("pipsqueak"), root, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=700"))?;
            chdir(root)?;
            pivot_root(".", ".")?;
            umount2(".", MntFlags::MNT_DETACH)?;
            Ok(namespace)
        })?;
        Ok(Self { namespace, added: AtomicU64::new(0) })
    }

    /// Adds a mount that is attached nowhere. Blocks.
    pub fn add(self: &Arc<Self>, tree: OwnedFd) -> io::Result<HiddenMount> {
        let number = self.added.fetch_add(1, Ordering::Relaxed);
        let place = PathBuf::from(format!("/{number}"));
        tree::visit(self.namespace.as_fd(), || {
            fs::create_dir(&place)?;
            tree::attach(tree.as_fd(), &place)
        })?;
        Ok(HiddenMount { all: self.clone(), place, tree })
    }
}

impl HiddenMount {
    /// A copy of it from a folder in it down, attached nowhere. Blocks.
    pub fn copy(&self, path: &Path, access: Access) -> io::Result<OwnedFd> {
        let namespace = self.all.namespace.as_fd();
        tree::visit(namespace, || tree::take_below(self.tree.as_fd(), path, access))
    }
}

impl Drop for HiddenMount {
    fn drop(&mut self) {
        let gone = tree::visit(self.all.namespace.as_fd(), || {
            umount2(&self.place, MntFlags::MNT_DETACH)?;
            fs::remove_dir(&self.place)
        });
        if let Err(error) = gone {
            tracing::warn!(%error, place = %self.place.display(), "a hidden mount stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tmpfs() -> OwnedFd {
        let folder = tempfile::tempdir().unwrap();
        let made = tree::elsewhere(|| {
            tree::own_namespace()?;
            mount(Some("x"), folder.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
            fs::create_dir(folder.path().join("folder"))?;
            fs::write(folder.path().join("folder/file"), "content")?;
            tree::take(folder.path(), Access::ReadOnly)
        });
        made.unwrap()
    }

    fn content(copy: &OwnedFd) -> io::Result<String> {
        let place = tempfile::tempdir()?;
        tree::elsewhere(|| {
            tree::own_namespace()?;
            tree::attach(copy.as_fd(), place.path())?;
            fs::read_to_string(place.path().join("file"))
        })
    }

    #[test]
    fn a_copy_is_of_the_mount_and_outlives_it() {
        let all = Arc::new(HiddenMounts::new().unwrap());
        let hidden = all.add(tmpfs()).unwrap();
        let copies = [0; 2].map(|_| hidden.copy(Path::new("folder"), Access::ReadOnly).unwrap());
        drop(hidden);
        drop(all);
        for copy in &copies {
            assert_eq!(content(copy).unwrap(), "content");
        }
    }

    #[test]
    fn one_that_is_dropped_leaves_nothing() {
        let all = Arc::new(HiddenMounts::new().unwrap());
        let (first, second) = (all.add(tmpfs()).unwrap(), all.add(tmpfs()).unwrap());
        drop(first);
        let left = tree::visit(all.namespace.as_fd(), || {
            fs::read_dir("/")?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()
        });
        assert_eq!(left.unwrap(), std::slice::from_ref(&second.place));
    }
}
