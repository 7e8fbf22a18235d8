//! What is mounted where, in every mount namespace of the machine.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A mount, as one mount namespace sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number.
    pub id: u32,
    /// The number of the mount that it is mounted on.
    pub parent: u32,
    /// Which file system it is of: `major:minor`.
    pub device: String,
    /// Which folder of that file system it shows.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The file system's type.
    pub kind: String,
    /// Where it comes from, as whoever mounted it has said.
    pub source: String,
}

/// What a mount namespace sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// A process that is in it: its folder below `/proc`.
    pub process: PathBuf,
    /// Its mounts.
    pub mounts: Vec<Mount>,
}

/// What this process sees.
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

    /// The mount that is seen at a path, where one is.
    pub fn at(&self, point: &Path) -> Option<&Mount> {
        self.mounts.iter().rfind(|mount| mount.point == point)
    }

    /// What a mount is mounted on, where that is seen.
    pub fn parent(&self, mount: &Mount) -> Option<&Mount> {
        self.mounts.iter().find(|other| other.id == mount.parent)
    }

    /// Inode number of the folder that a mount shows.
    pub fn inode(&self, mount: &Mount) -> io::Result<u64> {
        let below = mount.point.strip_prefix("/").unwrap_or(&mount.point);
        Ok(fs::metadata(self.process.join("root").join(below))?.ino())
    }
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let device = text(fields.next()?);
    let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
    // Options, and as many fields on propagation as there are, up to a dash.
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, source) = (text(fields.next()?), unescape(fields.next()?));
    let source = source.to_string_lossy().into_owned();
    Some(Mount { id, parent, device, root, point, kind, source })
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
        let mount =
            |id: u32, device: &str, root: &str, point: &str, kind: &str, source: &str| Mount {
                id,
                parent: id - 1,
                device: device.to_owned(),
                root: root.into(),
                point: point.into(),
                kind: kind.to_owned(),
                source: source.to_owned(),
            };
        let first = mount(36, "98:0", "/a b/views", "/mnt\t2", "ext4", "/dev/root");
        let second = mount(37, "0:39", "/", "/\\x", "fuse.pipsqueak", "pipsqueak");
        let namespace =
            Namespace { process: "/proc/1".into(), mounts: vec![first.clone(), second.clone()] };
        assert_eq!(parse(text), namespace.mounts);
        assert_eq!(namespace.at(Path::new("/mnt\t2")), Some(&first));
        assert_eq!((namespace.parent(&second), namespace.parent(&first)), (Some(&first), None));
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
