//! The maker's root, and in it the base: the system of an interpreter, and nothing of the host's own.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

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

/// Which parts of a process's memory are in its core, for this process and all that it begets: none. A program that
/// lowers its limit of a core's size to 0 has the host's program for cores started after all.
const IN_CORES: (&str, &str) = ("/proc/self/coredump_filter", "0");

/// Moves this process into a mount namespace of its own whose root, at `root`, is as above.
pub fn enter(root: &Path) -> io::Result<()> {
    fs::write(IN_CORES.0, IN_CORES.1)?;
    tree::own_namespace()?;
    let none = None::<&str>;
    mount(Some("pipsqueak"), root, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755"))?;
    let within = |path: &str| root.join(path.trim_start_matches('/'));
    for folder in ["/proc", NEW, BASE, EMPTY, HOST, SHARED] {
        create_folder(&within(folder))?;
    }
    mount(Some("proc"), &root.join("proc"), Some("proc"), quiet(), none)?;
    fill(&within(BASE), &within(HOST))?;
    chdir(root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(chdir("/")?)
}

fn fill(base: &Path, host: &Path) -> io::Result<()> {
    for name in SYSTEM {
        let from = Path::new("/").join(name);
        let Ok(metadata) = fs::symlink_metadata(&from) else { continue };
        if metadata.is_symlink() {
            symlink(fs::read_link(&from)?, base.join(name))?;
        } else {
            create_folder(&base.join(name))?;
            create_folder(&host.join(name))?;
            tree::attach(tree::take(&from, Access::ReadOnly)?.as_fd(), &host.join(name))?;
        }
    }
    etc::update(&base.join("etc"), etc::of_host()?)?;
    processors::fill(&base.join("sys"))?;
    fill_dev(&base.join("dev"))?;
    let mounts = ["proc", "tmp", "dev/shm", "dev/pts", "function", "pipsqueak/env"];
    for folder in mounts.into_iter().chain(["pipsqueak/runtime"]) {
        create_folder(&base.join(folder))?;
    }
    Ok(())
}

fn fill_dev(dev: &Path) -> io::Result<()> {
    create_folder(dev)?;
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name))?;
    }
    Ok(())
}
