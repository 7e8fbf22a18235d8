//! Who uses the mount: other places where part of it is mounted, and what processes have mapped.
//!
//! Sandboxes and containers have a view mounted in a mount namespace of their own, through an overlay
//! or as a folder of the mount. The kernel alone knows all of them, whoever made them, so it is asked:
//! every process, its mounts, its mappings. What a view is mounted through is told by an overlay's
//! source, and by nothing else, because the mount below an overlay is in nobody's list.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use nix::sys::stat::{major, makedev, minor};

use pipsqueak_fs::mount::FILE_SYSTEM;

use super::mountinfo::{Mount, Namespace, processes};

const OVERLAY: &str = "overlay";

/// What an overlay says of itself: of which instance's views it is, and which it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    instance: String,
    view: String,
}

/// What is mounted of an instance's views, its own places apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Digests of views that are mounted through overlays.
    pub views: BTreeSet<String>,
    /// Inodes of folders of the mount itself.
    pub inodes: BTreeSet<u64>,
}

impl Source {
    /// Of a view in the instance whose mount is at a path.
    pub fn new(mount: &Path, view: &str) -> Self {
        Self { instance: instance(mount), view: view.to_owned() }
    }

    /// The view of an instance that a mount is an overlay of.
    fn view_of<'a>(mount: &'a Mount, instance: &str) -> Option<&'a str> {
        let (of, view) = mount.source.strip_prefix("pipsqueak:")?.split_once(':')?;
        (mount.kind == OVERLAY && of == instance).then_some(view)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pipsqueak:{}:{}", self.instance, self.view)
    }
}

/// Tells instances apart, by where they have their mounts.
fn instance(mount: &Path) -> String {
    let digest = blake3::hash(mount.as_os_str().as_encoded_bytes()).to_hex();
    digest[..8].to_owned()
}

impl Places {
    /// Those of the instance whose mount is at `mount` and has the number `device`.
    ///
    /// Its own places are those on the mount and on `exports`, which has all exports: they follow what
    /// the instance shows there, in whichever namespace, and are nobody's use.
    pub fn among(
        namespaces: &[Namespace],
        mount: &Path,
        device: u64,
        exports: Option<&Mount>,
    ) -> Self {
        let instance = instance(mount);
        let device = format!("{}:{}", major(device), minor(device));
        let mut places = Self::default();
        for namespace in namespaces {
            for found in &namespace.mounts {
                let view = Source::view_of(found, &instance);
                let is_folder = found.device == device && found.root != Path::new("/");
                if (view.is_none() && !is_folder) || is_own(namespace, found, exports) {
                    continue;
                }
                match view {
                    Some(view) => drop(places.views.insert(view.to_owned())),
                    // Whose namespace has ended meanwhile holds nothing.
                    None => places.inodes.extend(namespace.inode(found).ok()),
                }
            }
        }
        places
    }
}

/// Whether a mount is a place of the instance itself, in whichever namespace.
fn is_own(namespace: &Namespace, mount: &Mount, exports: Option<&Mount>) -> bool {
    let Some(mut below) = namespace.parent(mount) else { return false };
    // One that has taken another's place lies on it.
    while below.point == mount.point && below.kind == OVERLAY {
        match namespace.parent(below) {
            Some(next) if next.id != below.id => below = next,
            _ => return false,
        }
    }
    let is_exports = |all: &Mount| (&all.device, &all.root) == (&below.device, &below.root);
    (below.kind == FILE_SYSTEM && below.root == Path::new("/")) || exports.is_some_and(is_exports)
}

/// Inodes of the mount that processes have mapped, from the mount itself or through an overlay.
///
/// `devices` are known to be of the instance whose mount is at `mount`; of others the mounts tell.
pub fn mapped(
    namespaces: &[Namespace],
    mount: &Path,
    mut devices: BTreeSet<u64>,
) -> io::Result<BTreeSet<u64>> {
    let instance = instance(mount);
    let all = namespaces.iter().flat_map(|namespace| &namespace.mounts);
    let overlays = all.filter(|mount| Source::view_of(mount, &instance).is_some());
    devices.extend(overlays.filter_map(|mount| number(&mount.device)));
    let devices = devices.into_iter().map(hexadecimal).collect();
    let mut inodes = BTreeSet::new();
    for process in processes()? {
        // A process may end at any time; then it uses nothing.
        let text = fs::read(process.join("maps")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        inodes.extend(text.lines().filter_map(|line| mapped_inode(line, &devices)));
    }
    Ok(inodes)
}

/// The number of a device in a list of mounts.
fn number(device: &str) -> Option<u64> {
    let (major, minor) = device.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// A device as lists of mappings have it.
fn hexadecimal(device: u64) -> String {
    format!("{:02x}:{:02x}", major(device), minor(device))
}

/// The inode of a line of `maps` that is of one of these devices.
fn mapped_inode(line: &str, devices: &BTreeSet<String>) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace().skip(3);
    devices.contains(fields.next()?).then(|| fields.next()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(id: u32, parent: u32, device: &str, root: &str, point: &str, source: &str) -> Mount {
        let kind = match device {
            "0:46" => FILE_SYSTEM,
            "8:1" => "ext4",
            _ => OVERLAY,
        };
        Mount {
            id,
            parent,
            device: device.to_owned(),
            root: root.into(),
            point: point.into(),
            kind: kind.to_owned(),
            source: source.to_owned(),
        }
    }

    #[test]
    fn what_the_instance_shows_itself_is_no_use() {
        let whole = Path::new("/packages");
        let source = |view: &str| Source::new(whole, view).to_string();
        let other = Source::new(Path::new("/others"), "f").to_string();
        let exports = mount(3, 1, "8:1", "/state/exports", "/run/exports", "/dev/sda1");
        let mounts = vec![
            mount(1, 0, "8:1", "/", "/", "/dev/sda1"),
            mount(2, 1, "0:46", "/", "/packages", "pipsqueak"),
            exports.clone(),
            mount(4, 2, "0:50", "/", "/packages/envs/a", &source("a")),
            mount(5, 3, "0:50", "/", "/run/exports/a/env", &source("a")),
            // Repaired, and exchanged.
            mount(6, 5, "0:51", "/", "/run/exports/a/env", &source("a")),
            // In a container: of an export, of a name at the same path, of a part.
            mount(7, 1, "8:1", "/state/exports/b", "/pipsqueak", "/dev/sda1"),
            mount(8, 7, "0:52", "/", "/pipsqueak/env", &source("b")),
            mount(9, 1, "0:53", "/lib", "/packages/envs/c", &source("c")),
            mount(10, 77, "0:54", "/", "/packages/envs/d", &source("d")),
            mount(11, 1, "0:55", "/", "/f", &other),
            mount(12, 1, "8:1", "/", "/g", &source("g")),
        ];
        let namespaces = [Namespace { process: "/proc/none".into(), mounts }];
        let places = Places::among(&namespaces, whole, makedev(0, 46), Some(&exports));
        assert_eq!(places.views.iter().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert_eq!(places.inodes, BTreeSet::new());
    }

    #[test]
    fn lines_of_the_kernel_are_read() {
        let devices = [number("0:46"), number("0:300")].map(|device| hexadecimal(device.unwrap()));
        let devices = devices.into();
        let line = "7f00-7f01 r-xp 00001000 00:2e 514                        /m/envs/e/x.so";
        assert_eq!(mapped_inode(line, &devices), Some(514));
        let line = "7f00-7f01 r-xp 00001000 00:12c 516                       /m/envs/e/y.so";
        assert_eq!(mapped_inode(line, &devices), Some(516));
        assert_eq!(mapped_inode("7f00-7f01 rw-p 00000000 00:00 0", &devices), None);
        assert_eq!(mapped_inode("", &devices), None);
        assert_eq!((number("nonsense"), number("0:x")), (None, None));
    }
}
