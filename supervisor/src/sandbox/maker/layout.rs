//! Paths in the maker's root, and places to mount on there.
//!
//! The maker lives in a mount namespace of its own with only this in it:
//!
//! ```text
//! /          tmpfs, the maker's root; nobody else sees it
//! /proc      the host's pid namespace: a fresh proc can be mounted only where one is visible
//! /new       the root that a holder puts together
//! /empty     masks folders
//! /host      usr bin lib lib64 sbin    the host's, read-only, those that are no links
//! /shared    overlays that a commons (`shared`) has of other folders
//! /base      becomes the root of every sandbox, read-only there:
//!   usr bin lib lib64 sbin    links, and where the host's go
//!   etc        a few generated and copied files (`etc`)
//!   sys        copies of what tells about processors (`processors`)
//!   dev        null zero full random urandom tty, links to /proc/self/fd and the terminals' maker
//!   proc tmp dev/shm dev/pts function pipsqueak/…    where mounts go
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use nix::mount::MsFlags;

/// The folder that becomes the root of every sandbox, for the maker.
pub const BASE: &str = "/base";
/// The folder in which the maker has folders of the host's system.
pub const HOST: &str = "/host";
/// An empty folder, beside the base.
pub const EMPTY: &str = "/empty";

/// Folder in which a commons has overlays of folders that are not the system's.
pub const SHARED: &str = "/shared";
/// Folder in which a holder puts the root of its sandbox together.
pub const NEW: &str = "/new";

/// Flags of mounts that run nothing and hold no device.
pub fn quiet() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
}

/// The place in the base of a path in a sandbox, for a maker or a hand that is in no commons yet; nothing if the path
/// is not absolute, or leads elsewhere by `..`.
pub fn in_base(inside: &Path) -> Option<PathBuf> {
    let plain = |part: &Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    let is_place = inside.is_absolute() && inside.components().all(|part| plain(&part));
    is_place.then(|| Path::new(BASE).join(inside.strip_prefix("/").unwrap_or(inside)))
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
    in_base(inside).is_some_and(|place| fs::symlink_metadata(place).is_ok())
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
