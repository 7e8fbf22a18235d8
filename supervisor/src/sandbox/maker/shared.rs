//! The overlays of a commons: made by the hand that is ordered to, and refreshed when the host's system has changed.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use pipsqueak_kernel::mount::{self as tree, Access};
use pipsqueak_kernel::overlay;

use super::layout::{BASE, EMPTY, HOST, SHARED, create_folder};
use crate::sandbox::places::SYSTEM;

/// Moves this process into the mount namespace of a commons.
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    let joined = setns(namespace, CloneFlags::CLONE_NEWNS);
    joined.map_err(|error| at("joining a mount namespace")(error.into()))
}

/// Tags an error with the step that failed.
fn at(step: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{step}: {error}"))
}

/// Has the commons that this process is in forget what it has found.
pub fn refresh() -> io::Result<()> {
    let shared = fs::read_dir(SHARED)?.flatten().map(|entry| entry.path());
    let system = [""].into_iter().chain(SYSTEM).map(|name| Path::new(BASE).join(name));
    for path in system.chain(shared) {
        let is_link = fs::symlink_metadata(&path).map_or(true, |metadata| metadata.is_symlink());
        if !is_link && is_overlay(&path)? {
            overlay::refresh(&path)?;
        }
    }
    Ok(())
}

/// A folder that was taken of the host's, as the commons that this process is in sees it; nothing where it is no
/// folder, or there are no overlays. It stays the same mount for all sandboxes of the commons.
pub fn take(folder: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let known = File::from(folder.try_clone_to_owned()?).metadata()?;
    if !known.is_dir() || !is_overlay(Path::new(BASE))? {
        return Ok(None);
    }
    let place = Path::new(SHARED).join(format!("{:x}-{:x}", known.dev(), known.ino()));
    if !place.exists() || !is_overlay(&place)? {
        let one_at_a_time = File::open(SHARED)?;
        one_at_a_time.lock()?;
        create_folder(&place)?;
        if !is_overlay(&place)? {
            // What is attached nowhere can lie below no overlay before Linux 6.15.
            tree::attach(folder, &place).map_err(at("attaching what an overlay is of"))?;
            let made =
                File::open(&place).and_then(|below| overlay(below.as_fd(), Access::ReadOnly));
            umount2(&place, MntFlags::MNT_DETACH)?;
            tree::attach(made?.as_fd(), &place).map_err(at("attaching an overlay"))?;
        }
    }
    tree::take(&place, Access::ReadOnly).map(Some).map_err(at("copying an overlay"))
}

/// An overlay of a folder and of nothing.
fn overlay(below: BorrowedFd<'_>, access: Access) -> io::Result<OwnedFd> {
    overlay::mount("pipsqueak", &[below, File::open(EMPTY)?.as_fd()], access)
}

fn is_overlay(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
}

/// Makes a commons, which this process is in then.
pub fn make() -> io::Result<OwnedFd> {
    tree::own_namespace()?;
    let base = Path::new(BASE);
    let mut is_first = true;
    for (below, place) in std::iter::once((base.to_owned(), base.to_owned())).chain(system()) {
        let access = if place == base { Access::ReadOnlyWithDevices } else { Access::ReadOnly };
        let made = File::open(&below).and_then(|below| overlay(below.as_fd(), access));
        let shown = made.or_else(|error| {
            if std::mem::take(&mut is_first) {
                tracing::warn!(%error, "sandboxes see the host's own files of the system");
            }
            tree::take(&below, access)
        });
        tree::attach(shown?.as_fd(), &place)?;
    }
    for name in SYSTEM {
        match umount2(&Path::new(HOST).join(name), MntFlags::MNT_DETACH) {
            // It is not mounted, or there is nothing of the name.
            Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            gone => gone?,
        }
    }
    File::open("/proc/self/ns/mnt").map(OwnedFd::from)
}

/// Each of the system's folders that is no link: where the maker has it, and where it is in the base.
fn system() -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let all = SYSTEM.map(|name| (Path::new(HOST).join(name), Path::new(BASE).join(name)));
    all.into_iter().filter(|(host, _)| host.is_dir())
}
