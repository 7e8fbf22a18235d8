//! The overlays of a commons: made by the hand that is ordered to, and refreshed when the host's system has changed.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use pipsqueak_kernel::mount::{self as tree, Access};
use pipsqueak_kernel::overlay;

use super::etc;
use super::layout::{BASE, EMPTY, HOST, SHARED, create_folder};
use crate::sandbox::failure::{Cause, ShareError, because};
use crate::sandbox::places::SYSTEM;

/// The mount namespace of a process that asks for it.
const OWN: &str = "/proc/self/ns/mnt";

/// Moves this process into the mount namespace of a commons.
pub fn enter(namespace: BorrowedFd<'_>) -> Result<(), ShareError> {
    setns(namespace, CloneFlags::CLONE_NEWNS).map_err(because(ShareError::Join))
}

/// Brings up to date what sandboxes see of the system: the copies in the base by what the mount namespace of the host
/// has, and the overlays in those of all commons.
pub fn refresh_all(host: BorrowedFd<'_>, all: &[OwnedFd]) -> Result<(), ShareError> {
    let own = File::open(OWN).map_err(because(ShareError::Open))?;
    enter(host)?;
    let found = etc::of_host().map_err(because(ShareError::HostEtc))?;
    // The base is in the maker's own namespace.
    enter(own.as_fd())?;
    etc::update(&Path::new(BASE).join("etc"), found).map_err(because(ShareError::Etc))?;
    // After the copies, which an overlay would go on to see as they were.
    for one in all {
        enter(one.as_fd())?;
        refresh()?;
    }
    Ok(())
}

/// Has the commons that this process is in forget what it has found.
pub fn refresh() -> Result<(), ShareError> {
    let listed = fs::read_dir(SHARED).map_err(because(ShareError::List))?;
    let shared = listed.flatten().map(|entry| entry.path());
    let system = [""].into_iter().chain(SYSTEM).map(|name| Path::new(BASE).join(name));
    for path in system.chain(shared) {
        let is_link = fs::symlink_metadata(&path).map_or(true, |metadata| metadata.is_symlink());
        if !is_link && is_overlay(&path)? {
            overlay::refresh(&path).map_err(|error| {
                let source = error.into();
                ShareError::Refresh { path, source }
            })?;
        }
    }
    Ok(())
}

/// A folder that was taken of the host's, as the commons that this process is in sees it; nothing if it is no
/// folder, or there are no overlays. It stays the same mount for all sandboxes of the commons.
pub fn take(folder: BorrowedFd<'_>) -> Result<Option<OwnedFd>, ShareError> {
    let known = folder.try_clone_to_owned().and_then(|folder| File::from(folder).metadata());
    let known = known.map_err(because(ShareError::Stat))?;
    if !known.is_dir() || !is_overlay(Path::new(BASE))? {
        return Ok(None);
    }
    let place = Path::new(SHARED).join(format!("{:x}-{:x}", known.dev(), known.ino()));
    if !place.exists() || !is_overlay(&place)? {
        let one_at_a_time = File::open(SHARED).map_err(because(ShareError::List))?;
        one_at_a_time.lock().map_err(because(ShareError::Lock))?;
        // Another hand may have made it while this one waited.
        add(folder, &place)?;
    }
    let taken = tree::take(&place, Access::ReadOnly);
    taken.map(Some).map_err(at(&place, |path, source| ShareError::Copy { path, source }))
}

/// Mounts an overlay of a folder at a place, unless there is one.
fn add(folder: BorrowedFd<'_>, place: &Path) -> Result<(), ShareError> {
    create_folder(place).map_err(at(place, |path, source| ShareError::Folder { path, source }))?;
    if is_overlay(place)? {
        return Ok(());
    }
    // A mount that is attached nowhere can lie below no overlay before Linux 6.15.
    tree::attach(folder, place)
        .map_err(at(place, |path, source| ShareError::AttachBelow { path, source }))?;
    let made = File::open(place).and_then(|below| overlay(below.as_fd(), Access::ReadOnly));
    // Also if there is no overlay: what was attached is in nobody's way then.
    umount2(place, MntFlags::MNT_DETACH)
        .map_err(at(place, |path, source| ShareError::Unmount { path, source }))?;
    let made = made.map_err(at(place, |path, source| ShareError::Overlay { path, source }))?;
    tree::attach(made.as_fd(), place)
        .map_err(at(place, |path, source| ShareError::Attach { path, source }))
}

/// An overlay of a folder and of nothing.
fn overlay(below: BorrowedFd<'_>, access: Access) -> io::Result<OwnedFd> {
    overlay::mount("pipsqueak", &[below, File::open(EMPTY)?.as_fd()], access)
}

fn is_overlay(path: &Path) -> Result<bool, ShareError> {
    let found = statfs(path).map_err(at(path, |path, source| ShareError::Look { path, source }))?;
    Ok(found.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
}

/// Makes a commons, which this process is in then; its mount namespace.
pub fn make() -> Result<OwnedFd, ShareError> {
    tree::own_namespace().map_err(because(ShareError::Unshare))?;
    let base = Path::new(BASE);
    let mut is_first = true;
    // The base before what lies in it.
    for (below, place) in std::iter::once((base.to_owned(), base.to_owned())).chain(system()) {
        let access = if place == base { Access::ReadOnlyWithDevices } else { Access::ReadOnly };
        let made = File::open(&below).and_then(|below| overlay(below.as_fd(), access));
        let shown = made.or_else(|error| {
            if std::mem::take(&mut is_first) {
                tracing::warn!(%error, "sandboxes see the host's own files of the system");
            }
            tree::take(&below, access)
        });
        let shown =
            shown.map_err(at(&place, |path, source| ShareError::Overlay { path, source }))?;
        tree::attach(shown.as_fd(), &place)
            .map_err(at(&place, |path, source| ShareError::Attach { path, source }))?;
    }
    // Last, because the overlays are made of what is there.
    for name in SYSTEM {
        let place = Path::new(HOST).join(name);
        match umount2(&place, MntFlags::MNT_DETACH) {
            // It is not mounted, or there is nothing of the name.
            Err(Errno::EINVAL | Errno::ENOENT) => {}
            gone => {
                gone.map_err(at(&place, |path, source| ShareError::Unmount { path, source }))?;
            }
        }
    }
    File::open(OWN).map(OwnedFd::from).map_err(because(ShareError::Open))
}

/// Each of the system's folders that is no link: its places in the maker's root and in the base.
fn system() -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let all = SYSTEM.map(|name| (Path::new(HOST).join(name), Path::new(BASE).join(name)));
    all.into_iter().filter(|(host, _)| host.is_dir())
}

/// Turns the error of a system call into the variant that says what the call was for, and at which place.
fn at<E: Into<Cause>>(
    path: &Path,
    variant: impl FnOnce(PathBuf, Cause) -> ShareError,
) -> impl FnOnce(E) -> ShareError {
    move |error| variant(path.to_owned(), error.into())
}
