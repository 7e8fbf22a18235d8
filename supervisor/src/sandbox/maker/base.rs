//! The parts of every sandbox's root: the interpreter's system, and nothing of the host's own.
//!
//! The maker lives in a mount namespace of its own with only this in it:
//!
//! ```text
//! /          tmpfs, the maker's root; nobody else sees it
//! /proc      the host's pid namespace: a fresh proc can be mounted only where one is visible
//! /new       where a holder puts its sandbox's root together
//! /empty     what masks folders
//! /host      usr bin lib lib64 sbin    the host's, read-only, those that are no links
//! /shared    where a commons (`commons`) has overlays of other folders
//! /base      what becomes the root of every sandbox, read-only there:
//!   usr bin lib lib64 sbin    links, and where the host's go
//!   etc        a few generated and copied files (`etc`)
//!   sys        copies of what tells about processors (`processors`)
//!   dev        null zero full random urandom tty, links to /proc/self/fd and the terminals' maker
//!   proc tmp dev/shm dev/pts function pipsqueak/…    where mounts go
//! ```

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chdir, pivot_root};
use pipsqueak_kernel::mount::{self as tree, Access};

use super::{commons, etc, processors};

/// Where the environment is in every sandbox.
pub const ENVIRONMENT: &str = pipsqueak_fs::FIXED_PREFIX;
/// Where the function's code is.
pub const FUNCTION: &str = "/function";
/// Where the Python side of the runtime is.
pub const RUNTIME: &str = "/pipsqueak/runtime";

/// What becomes the root of every sandbox, for the maker.
pub const BASE: &str = "/base";
/// The folder in which the maker has folders of the host's system.
pub const HOST: &str = "/host";
/// An empty folder, beside the base.
pub const EMPTY: &str = "/empty";

/// Folders of the system that an interpreter and its libraries need, by their names in the root.
pub const SYSTEM: [&str; 5] = ["usr", "bin", "sbin", "lib", "lib64"];

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
    for folder in ["/proc", "/new", BASE, EMPTY, HOST, commons::SHARED] {
        create_folder(&within(folder))?;
    }
    mount(Some("proc"), &root.join("proc"), Some("proc"), quiet(), none)?;
    fill(&within(BASE), &within(HOST))?;
    chdir(root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(chdir("/")?)
}

/// Flags of mounts that run nothing and hold no device.
pub fn quiet() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
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

/// Makes sure that there is something to mount on at `inside`, a path in a sandbox, for a maker or a hand that
/// is in no commons yet.
///
/// Refuses a path that is not absolute or leads elsewhere by `..`.
pub fn prepare_mountpoint(inside: &Path, is_folder: bool) -> io::Result<()> {
    let plain = |part: &Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !inside.is_absolute() || !inside.components().all(|part| plain(&part)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is no place to mount on in a sandbox", inside.display()),
        ));
    }
    make_mountpoint(&in_base(inside), is_folder)
}

/// Makes what something is to be mounted on, unless there is something.
pub fn make_mountpoint(path: &Path, is_folder: bool) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    if is_folder {
        return create_folder(path);
    }
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    write_file(path, b"")
}

/// True if there is something at `inside`, a path in a sandbox.
pub fn is_there(inside: &Path) -> bool {
    fs::symlink_metadata(in_base(inside)).is_ok()
}

fn in_base(inside: &Path) -> PathBuf {
    Path::new(BASE).join(inside.strip_prefix("/").unwrap_or(inside))
}

/// Makes a folder, and those that it is in.
pub fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Writes a file that everybody may read.
pub fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}
