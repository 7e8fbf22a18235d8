//! Inodes of the mount that processes hold: files that they have mapped or open, folders that they are in.
//!
//! The process that serves the mount is not asked: the kernel says what it knows already.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, makedev, minor};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::mountinfo::processes;

/// Reads the mount ahead of others. Nothing becomes of what it has open.
const SERVER: &str = "pipsqueak-fs";

/// Inodes of file systems with these numbers that processes have, this one apart.
pub fn held(devices: &BTreeSet<u64>) -> io::Result<BTreeSet<u64>> {
    let own = format!("/proc/{}", std::process::id());
    let mut inodes = BTreeSet::new();
    for process in processes()? {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        if process != Path::new(&own) && name.trim_end() != SERVER {
            held_by(&process, devices, &mut inodes);
        }
    }
    Ok(inodes)
}

/// Adds the inodes that one process holds. The process may end at any time; then it holds none.
fn held_by(process: &Path, devices: &BTreeSet<u64>, inodes: &mut BTreeSet<u64>) {
    let threads = entries(&process.join("task"));
    let mut known = |path: &Path| {
        let (device, inode) = known_of(path)?;
        devices.contains(&device).then(|| inodes.insert(inode))
    };
    for thread in &threads {
        // Each may have its own.
        for name in ["cwd", "root"] {
            known(&thread.join(name));
        }
    }
    known(&process.join("exe"));
    // The first thread may have ended before the others, and has nothing then.
    let open = threads.iter().map(|thread| entries(&thread.join("fd"))).find(|all| !all.is_empty());
    for descriptor in open.unwrap_or_default() {
        known(&descriptor);
    }
    let maps = threads.iter().map(|thread| fs::read(thread.join("maps")).unwrap_or_default());
    let maps = maps.into_iter().find(|maps| !maps.is_empty()).unwrap_or_default();
    let lines = String::from_utf8_lossy(&maps);
    inodes.extend(lines.lines().filter_map(|line| mapped_inode(line, devices)));
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).into_iter().flatten();
    listed.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// File system and inode of what a link of `/proc` leads to, as the kernel has them.
fn known_of(link: &Path) -> Option<(u64, u64)> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let found = statx(CWD, link, flags, StatxFlags::INO).ok()?;
    Some((makedev(found.stx_dev_major.into(), found.stx_dev_minor.into()), found.stx_ino))
}

/// The inode of a line of `maps` that is of one of these devices.
fn mapped_inode(line: &str, devices: &BTreeSet<u64>) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace().skip(3);
    let (major, minor) = fields.next()?.split_once(':')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    devices
        .contains(&makedev(number(major)?, number(minor)?))
        .then(|| fields.next()?.parse().ok())?
}

/// The number of a device in a list of mounts.
pub fn number(device: &str) -> Option<u64> {
    let (major, minor) = device.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// A device as lists of mounts have it.
pub fn told(device: u64) -> String {
    format!("{}:{}", major(device), minor(device))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let devices = ["0:46", "0:300"].map(|device| number(device).unwrap());
        assert_eq!(devices.map(told), ["0:46", "0:300"]);
        let devices = devices.into();
        let line = "7f00-7f01 r-xp 00001000 00:2e 514                        /m/envs/e/x.so";
        assert_eq!(mapped_inode(line, &devices), Some(514));
        let line = "7f00-7f01 r-xp 00001000 00:12c 516                       /m/envs/e/y.so";
        assert_eq!(mapped_inode(line, &devices), Some(516));
        assert_eq!(mapped_inode("7f00-7f01 rw-p 00000000 00:00 0", &devices), None);
        assert_eq!(mapped_inode("", &devices), None);
        assert_eq!((number("nonsense"), number("0:x")), (None, None));
    }

    #[test]
    fn working_folder_and_open_file_of_another_process_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = fs::File::create(folder.path().join("file")).unwrap();
        let (inside, file_inode) =
            (folder.path().metadata().unwrap(), file.metadata().unwrap().ino());
        let mut process = Command::new("cat");
        process.current_dir(folder.path()).stdin(Stdio::piped()).stdout(file);
        let mut process = process.spawn().unwrap();
        let found = held(&[inside.dev()].into()).unwrap();
        drop(process.stdin.take());
        process.wait().unwrap();
        assert!(found.contains(&inside.ino()) && found.contains(&file_inode), "{found:?}");
    }
}
