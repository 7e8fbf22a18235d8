//! What is mounted where, in every mount namespace of the machine.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A mount, as one mount namespace sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// A process that is in that namespace: its folder below `/proc`.
    pub process: PathBuf,
    /// Which file system it is of: `major:minor`.
    pub device: String,
    /// Which folder of that file system it shows.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
}

/// Mounts of this process's namespace, in the order in which they were made.
pub fn own() -> io::Result<Vec<Mount>> {
    of(Path::new("/proc/self"))
}

/// Mounts of all mount namespaces that some process is in. Processes that end meanwhile are
/// passed over.
pub fn everywhere() -> io::Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        let Ok(namespace) = fs::read_link(process.join("ns/mnt")) else { continue };
        if seen.contains(&namespace) {
            continue;
        }
        if let Ok(found) = of(&process) {
            seen.insert(namespace);
            mounts.extend(found);
        }
    }
    Ok(mounts)
}

/// Inode number of the folder that a mount shows. Nothing that the mount itself would have to
/// answer is asked.
pub fn inode(mount: &Mount) -> io::Result<u64> {
    let below = mount.point.strip_prefix("/").unwrap_or(&mount.point);
    Ok(fs::metadata(mount.process.join("root").join(below))?.ino())
}

fn of(process: &Path) -> io::Result<Vec<Mount>> {
    Ok(parse(process, &fs::read(process.join("mountinfo"))?))
}

fn parse(process: &Path, text: &[u8]) -> Vec<Mount> {
    let lines = text.split(|byte| *byte == b'\n');
    let mounts = lines.filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        let device = String::from_utf8(fields.next()?.to_owned()).ok()?;
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        Some(Mount { process: process.to_owned(), device, root, point })
    });
    mounts.collect()
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let (b'\\', Some(byte)) = (first, escaped) {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The first part of `root` below `above`: whose it is, where each has a folder of its own there.
pub fn first_part<'a>(root: &'a Path, above: &Path) -> Option<&'a str> {
    let below = root.strip_prefix(above).ok()?;
    std::str::from_utf8(below.components().next()?.as_os_str().as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_blanks() {
        let text =
            b"36 35 98:0 /a\\040b/views /mnt\\0112 rw,noatime master:1 - ext4 /dev/root rw\n\
                     nonsense\n37 36 0:39 / /\\134x ro - fuse.pipsqueak pipsqueak ro\n";
        let mount = |device: &str, root: &str, point: &str| Mount {
            process: "/proc/1".into(),
            device: device.to_owned(),
            root: root.into(),
            point: point.into(),
        };
        let expected = [mount("98:0", "/a b/views", "/mnt\t2"), mount("0:39", "/", "/\\x")];
        assert_eq!(parse(Path::new("/proc/1"), text), expected);
    }

    #[test]
    fn the_own_namespace_is_among_all() {
        let root = own().unwrap().into_iter().find(|mount| mount.point == Path::new("/")).unwrap();
        assert_eq!(inode(&root).unwrap(), fs::metadata("/").unwrap().ino());
        let is_root = |mount: &Mount| (&mount.device, &mount.root) == (&root.device, &root.root);
        assert!(everywhere().unwrap().iter().any(is_root));
    }

    #[test]
    fn the_first_part_names_the_owner() {
        let above = Path::new("/state/exports");
        assert_eq!(first_part(Path::new("/state/exports/ab/env"), above), Some("ab"));
        assert_eq!(first_part(above, above), None);
        assert_eq!(first_part(Path::new("/state/exports2/ab"), above), None);
    }
}
