//! Mounts and their places, in every mount namespace of the machine.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use pipsqueak_fs::mount::mountinfo::Mount;
use pipsqueak_fs::mount::mountinfo::parse;

/// A mount namespace, and the mounts that it sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// A process that is in it: its folder below `/proc`.
    pub process: PathBuf,
    /// Mounts in it.
    pub mounts: Vec<Mount>,
}

/// The mount namespace of this process.
pub fn own() -> io::Result<Namespace> {
    Namespace::of(Path::new("/proc/self"))
}

/// All mount namespaces that some process is in. Processes that end meanwhile are passed over.
pub fn everywhere() -> io::Result<Vec<Namespace>> {
    let mut namespaces = Vec::new();
    let mut seen = HashSet::new();
    for process in processes()? {
        let Ok(namespace) = fs::read_link(process.join("ns/mnt")) else { continue };
        if seen.contains(&namespace) {
            continue;
        }
        if let Ok(found) = Namespace::of(&process) {
            seen.insert(namespace);
            namespaces.push(found);
        }
    }
    Ok(namespaces)
}

/// All processes: their folders below `/proc`.
pub fn processes() -> io::Result<Vec<PathBuf>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        if entry.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
            processes.push(entry.path());
        }
    }
    Ok(processes)
}

impl Namespace {
    fn of(process: &Path) -> io::Result<Self> {
        let mounts = parse(&fs::read(process.join("mountinfo"))?);
        Ok(Self { process: process.to_owned(), mounts })
    }

    /// The mount that is seen at a path, if there is one.
    pub fn at(&self, point: &Path) -> Option<&Mount> {
        self.mounts.iter().rfind(|mount| mount.point == point)
    }

    /// The mount that a mount lies on, if that is seen.
    pub fn parent(&self, mount: &Mount) -> Option<&Mount> {
        self.mounts.iter().find(|other| other.id == mount.parent)
    }

    /// Inode number of the folder that a mount shows.
    pub fn inode(&self, mount: &Mount) -> io::Result<u64> {
        let below = mount.point.strip_prefix("/").unwrap_or(&mount.point);
        Ok(fs::metadata(self.process.join("root").join(below))?.ino())
    }
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
    fn mounts_are_found_by_their_place_and_their_number() {
        let text =
            b"36 35 98:0 / /mnt rw - ext4 /dev/root rw\n37 36 0:39 / /mnt/x ro - tmpfs none ro\n";
        let namespace = Namespace { process: "/proc/1".into(), mounts: parse(text) };
        let [first, second] = &namespace.mounts[..] else { panic!("{namespace:?}") };
        assert_eq!(namespace.at(Path::new("/mnt")), Some(first));
        assert_eq!((namespace.parent(second), namespace.parent(first)), (Some(first), None));
    }

    #[test]
    fn the_own_namespace_is_among_all() {
        let own = own().unwrap();
        let root = own.at(Path::new("/")).unwrap();
        assert_eq!(own.inode(root).unwrap(), fs::metadata("/").unwrap().ino());
        let is_root = |mount: &Mount| (&mount.device, &mount.root) == (&root.device, &root.root);
        assert!(everywhere().unwrap().iter().flat_map(|one| &one.mounts).any(is_root));
    }

    #[test]
    fn the_first_part_names_the_owner() {
        let above = Path::new("/state/exports");
        assert_eq!(first_part(Path::new("/state/exports/ab/env"), above), Some("ab"));
        assert_eq!(first_part(above, above), None);
        assert_eq!(first_part(Path::new("/state/exports2/ab"), above), None);
    }
}
