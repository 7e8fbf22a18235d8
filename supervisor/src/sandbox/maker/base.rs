//! The maker's root, and in it the base: the system of an interpreter, and nothing of the host's own.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chdir, pivot_root};
use pipsqueak_kernel::mount::{self as tree, Access};

use super::layout::{BASE, EMPTY, HOST, NEW, SHARED, create_folder, quiet};
use super::{etc, processors};
use crate::sandbox::places::SYSTEM;

/// `/dev/` name, major and minor number.
const DEVICES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Setting by which no memory of this process, and of all that it begets, gets into a core. A program that lowers its
/// limit of a core's size to 0 has the host's program for cores started after all.
const IN_CORES: (&str, &str) = ("/proc/self/coredump_filter", "0");

/// Why the maker's root could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// write(2) to the filter of cores.
    #[error("keeping memory out of cores: {0}")]
    Cores(#[source] io::Error),
    /// unshare(2).
    #[error("making a mount namespace: {0}")]
    Namespace(#[source] io::Error),
    /// mount(2) of a tmpfs.
    #[error("mounting a root at {}: {source}", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: Errno,
    },
    /// mount(2) of `/proc`.
    #[error("mounting /proc: {0}")]
    Proc(#[source] Errno),
    /// mkdir(2), symlink(2), mknod(2), or a write.
    #[error("making {}: {source}", path.display())]
    Make {
        /// The file, link, folder or device.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// `open_tree(2)` and `move_mount(2)` of a folder of the host's system.
    #[error("taking {} of the host's: {source}", path.display())]
    System {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The host's `/etc`.
    #[error("reading the host's /etc: {0}")]
    Etc(#[source] io::Error),
    /// chdir(2).
    #[error("entering the new root: {0}")]
    Enter(#[source] Errno),
    /// `pivot_root(2)`.
    #[error("changing the root: {0}")]
    Pivot(#[source] Errno),
    /// umount2(2).
    #[error("leaving the old root: {0}")]
    Leave(#[source] Errno),
}

/// Moves this process into a mount namespace of its own whose root, at `root`, is as `layout` says.
pub fn enter(root: &Path) -> Result<(), BaseError> {
    // For all that this process begets, and before it begets any.
    fs::write(IN_CORES.0, IN_CORES.1).map_err(BaseError::Cores)?;
    // Before the first mount, which nobody else is to see.
    tree::own_namespace().map_err(BaseError::Namespace)?;
    let none = None::<&str>;
    mount(Some("pipsqueak"), root, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755"))
        .map_err(|source| BaseError::Root { path: root.to_owned(), source })?;
    let within = |path: &str| root.join(path.trim_start_matches('/'));
    for folder in ["/proc", NEW, BASE, EMPTY, HOST, SHARED] {
        make(&within(folder), create_folder)?;
    }
    mount(Some("proc"), &root.join("proc"), Some("proc"), quiet(), none)
        .map_err(BaseError::Proc)?;
    // While the host's files are still to be seen.
    fill(&within(BASE), &within(HOST))?;
    chdir(root).map_err(BaseError::Enter)?;
    // The old root comes to lie on the new one, from where it is unmounted.
    pivot_root(".", ".").map_err(BaseError::Pivot)?;
    umount2(".", MntFlags::MNT_DETACH).map_err(BaseError::Leave)?;
    chdir("/").map_err(BaseError::Enter)
}

fn fill(base: &Path, host: &Path) -> Result<(), BaseError> {
    for name in SYSTEM {
        let from = Path::new("/").join(name);
        let Ok(metadata) = fs::symlink_metadata(&from) else { continue };
        if metadata.is_symlink() {
            make(&base.join(name), |link| symlink(fs::read_link(&from)?, link))?;
        } else {
            make(&base.join(name), create_folder)?;
            make(&host.join(name), create_folder)?;
            tree::take(&from, Access::ReadOnly)
                .and_then(|taken| tree::attach(taken.as_fd(), &host.join(name)))
                .map_err(|source| BaseError::System { path: from, source })?;
        }
    }
    let found = etc::of_host().map_err(BaseError::Etc)?;
    make(&base.join("etc"), |etc| etc::update(etc, found))?;
    make(&base.join("sys"), processors::fill)?;
    fill_dev(&base.join("dev"))?;
    let mounts = ["proc", "tmp", "dev/shm", "dev/pts", "function", "pipsqueak/env"];
    for folder in mounts.into_iter().chain(["pipsqueak/runtime"]) {
        make(&base.join(folder), create_folder)?;
    }
    Ok(())
}

fn fill_dev(dev: &Path) -> Result<(), BaseError> {
    make(dev, create_folder)?;
    for (name, major, minor) in DEVICES {
        make(&dev.join(name), |path| {
            let everybody = Mode::from_bits_truncate(0o666);
            mknod(path, SFlag::S_IFCHR, everybody, makedev(major, minor))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o666))
        })?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        make(&dev.join(name), |link| symlink(target, link))?;
    }
    Ok(())
}

/// Makes something at a path, which is in the error.
fn make(path: &Path, act: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), BaseError> {
    act(path).map_err(|source| BaseError::Make { path: path.to_owned(), source })
}
