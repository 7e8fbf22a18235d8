//! Who uses the mount: other places where part of it is mounted, and what processes have mapped.
//!
//! Sandboxes and containers bind a folder of the mount into a mount namespace of their own. The
//! kernel alone knows all of them, whoever made them, so it is asked: every process, its mounts,
//! its mappings.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use pipsqueak_fs::mount::unescape;

/// Inodes of the mount at `path` that are mounted elsewhere or that a process has mapped.
pub fn inodes_in_use(path: &Path) -> io::Result<BTreeSet<u64>> {
    let device = fs::metadata(path)?.dev();
    let mut found = BTreeSet::new();
    let mut namespaces = HashSet::new();
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        let is_process = process
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_process {
            continue;
        }
        // A process may end at any time; then it uses nothing.
        found.extend(mapped(&process, device));
        let namespace = fs::read_link(process.join("ns/mnt")).ok();
        if namespace.is_some_and(|namespace| namespaces.insert(namespace)) {
            let places = bound(&process, device).into_iter();
            found.extend(places.filter_map(|place| inode_at(&place, device)));
        }
    }
    Ok(found)
}

/// The inode at a path, where that is of the device.
fn inode_at(path: &Path, device: u64) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.dev() == device).then(|| metadata.ino())
}

/// Where a process sees parts of the device mounted, by a path that leads there from here.
fn bound(process: &Path, device: u64) -> Vec<PathBuf> {
    let text = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
    let number = format!("{}:{}", major(device), minor(device));
    let places = text.lines().filter_map(|line| bound_place(line, &number));
    places.map(|place| process.join("root").join(place.trim_start_matches('/'))).collect()
}

/// The mount point of a line of `mountinfo` that is a part of the device `number`.
fn bound_place(line: &str, number: &str) -> Option<String> {
    let mut fields = line.split(' ').skip(2);
    let (device, root, place) = (fields.next()?, fields.next()?, fields.next()?);
    (device == number && root != "/").then(|| unescape(place))
}

/// Inodes of the device that a process has mapped.
fn mapped(process: &Path, device: u64) -> BTreeSet<u64> {
    let text = fs::read(process.join("maps")).unwrap_or_default();
    let number = format!("{:02x}:{:02x}", major(device), minor(device));
    String::from_utf8_lossy(&text).lines().filter_map(|line| mapped_inode(line, &number)).collect()
}

/// The inode of a line of `maps` that is of the device `number`.
fn mapped_inode(line: &str, number: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace().skip(3);
    (fields.next()? == number).then(|| fields.next()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line = "41 30 0:46 /envs/science /pipsqueak/my\\040env ro,nosuid shared:1 - fuse.pipsqueak p ro";
        assert_eq!(bound_place(line, "0:46").as_deref(), Some("/pipsqueak/my env"));
        assert_eq!(bound_place(line, "0:4"), None);
        assert_eq!(bound_place("41 30 0:46 / /pipsqueak/packages ro - fuse p ro", "0:46"), None);
        let line = "7f00-7f01 r-xp 00001000 00:2e 514                        /m/envs/e/x.so";
        assert_eq!(mapped_inode(line, "00:2e"), Some(514));
        assert_eq!(mapped_inode("7f00-7f01 rw-p 00000000 00:00 0", "00:2e"), None);
        assert_eq!(mapped_inode("", "00:2e"), None);
    }
}
