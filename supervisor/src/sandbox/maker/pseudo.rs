//! `/proc` and `/dev/pts` of a sandbox: file systems that the kernel makes up.
//!
//! The holder puts them together before anybody else is in the sandbox, and every path to a place
//! that something is mounted on leads through the base, which nobody can change, or through a
//! fresh file system of the kernel's. So nobody can have put a link there (CVE-2021-30465,
//! CVE-2025-31133, CVE-2025-52565); the device that masks files is checked all the same.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::stat::makedev;
use pipsqueak_kernel::mount::{self as tree, Access};

use super::layout;
use crate::sandbox::failure::{HoldError, because};

/// Files of `/proc` that tell about the machine or its other users: runc's and Docker's list, and what tells how the
/// kernel was made, started and laid out. Those that act on it need no more than that nothing can be written.
const MASKED_FILES: [&str; 11] = [
    "cmdline",
    "config.gz",
    "interrupts",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "latency_stats",
    "sched_debug",
    "timer_list",
    "timer_stats",
];

/// Folders of `/proc` of that kind.
const MASKED_FOLDERS: [&str; 3] = ["acpi", "asound", "scsi"];

/// Mounts a `/proc` of the caller's pid namespace at `root`, with nothing in it that can be written.
///
/// Before the pivot: a new user namespace may mount proc only while another one is visible.
pub fn mount_proc(root: &Path) -> Result<(), HoldError> {
    let proc = root.join("proc");
    let flags = layout::quiet() | MsFlags::MS_RDONLY;
    mount(Some("proc"), &proc, Some("proc"), flags, None::<&str>)
        .map_err(because(HoldError::Proc))?;
    let null = root.join("dev/null");
    let metadata = std::fs::symlink_metadata(&null).map_err(because(HoldError::Null))?;
    if !metadata.file_type().is_char_device() || metadata.rdev() != makedev(1, 3) {
        return Err(HoldError::NotNull);
    }
    // A copy of a mount has its flags, and the root is read-only by now.
    let cover =
        |place: &Path| Ok(mount(Some(&null), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)?);
    mask(&MASKED_FILES.map(|name| proc.join(name)), cover)?;
    mask(&MASKED_FOLDERS.map(|name| proc.join(name)), |place| {
        tree::attach(tree::take(Path::new(layout::EMPTY), Access::ReadOnly)?.as_fd(), place)
    })
}

/// Covers each of the places that are there.
fn mask(places: &[PathBuf], cover: impl Fn(&Path) -> io::Result<()>) -> Result<(), HoldError> {
    for place in places {
        match cover(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            covered => covered
                .map_err(|error| HoldError::Mask { path: place.clone(), source: error.into() })?,
        }
    }
    Ok(())
}

/// Mounts terminals of the sandbox's own at `root`.
pub fn mount_terminals(root: &Path) -> Result<(), HoldError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = Some("newinstance,ptmxmode=0666,mode=0620,max=64");
    mount(Some("devpts"), &root.join("dev/pts"), Some("devpts"), flags, options)
        .map_err(because(HoldError::Terminals))
}
