//! Uses of the mount: other places where part of it is mounted.
//!
//! Sandboxes and containers have a view mounted in a mount namespace of their own, through an overlay
//! or as a folder of the mount. The kernel alone knows all of them, so it is asked: every process and its mounts.
//! The source of an overlay alone tells the instance that it is of, because the mount below an overlay is in
//! nobody's list. The folder of the overlay tells the view.

use std::collections::BTreeSet;
use std::path::Path;

use pipsqueak_fs::mount::FILE_SYSTEM;

use super::held::{number, told};
use super::mountinfo::{self, Mount, Namespace};

const OVERLAY: &str = "overlay";

/// Views and folders of an instance that are mounted, its own places apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Digests of views that are mounted through overlays.
    pub views: BTreeSet<String>,
    /// Inodes of folders of the mount itself.
    pub inodes: BTreeSet<u64>,
}

/// Source that an overlay of the views has, of the instance whose mount is at a path.
pub fn source(mount: &Path) -> String {
    let digest = blake3::hash(mount.as_os_str().as_encoded_bytes()).to_hex();
    format!("pipsqueak:{}", &digest[..8])
}

fn is_overlay(mount: &Mount, source: &str) -> bool {
    mount.kind == OVERLAY && mount.source == source
}

/// The view that a mount of an overlay shows.
fn view_of(mount: &Mount) -> Option<&str> {
    let name = mountinfo::first_part(&mount.root, Path::new("/"))?;
    name.split_once('.').map(|(view, _)| view)
}

impl Places {
    /// Places of the instance whose mount is at `mount` and has the number `device`.
    ///
    /// The instance's own places are those on the mount and on `exports`, which has all exports: they follow what
    /// the instance shows there, in whichever namespace, and are nobody's use.
    pub fn among(
        namespaces: &[Namespace],
        mount: &Path,
        device: u64,
        exports: Option<&Mount>,
    ) -> Self {
        let source = source(mount);
        let device = told(device);
        let mut places = Self::default();
        for namespace in namespaces {
            for found in &namespace.mounts {
                let view = is_overlay(found, &source).then(|| view_of(found)).flatten();
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

/// True if a mount is a place of the instance itself, in whichever namespace.
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

/// Numbers of the file systems through which views of the instance whose mount is at `mount` are seen,
/// or were: those that are `known`, without those that are another file system's by now, and those that
/// mounts tell of.
pub fn devices(namespaces: &[Namespace], mount: &Path, known: BTreeSet<u64>) -> BTreeSet<u64> {
    let source = source(mount);
    let mut devices = known;
    let all = || namespaces.iter().flat_map(|namespace| &namespace.mounts);
    let (ours, others): (Vec<_>, Vec<_>) = all()
        .filter(|mount| mount.kind != FILE_SYSTEM)
        .partition(|mount| is_overlay(mount, &source));
    for other in others {
        // Numbers of file systems that are gone are given to others.
        number(&other.device).map(|device| devices.remove(&device));
    }
    devices.extend(ours.into_iter().filter_map(|mount| number(&mount.device)));
    devices
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::makedev;

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
        let (source, other) = (source(whole), source(Path::new("/others")));
        let exports = mount(3, 1, "8:1", "/state/exports", "/run/exports", "/dev/sda1");
        let mounts = vec![
            mount(1, 0, "8:1", "/", "/", "/dev/sda1"),
            mount(2, 1, "0:46", "/", "/packages", "pipsqueak"),
            exports.clone(),
            mount(4, 2, "0:50", "/a.1", "/packages/envs/a", &source),
            mount(5, 3, "0:50", "/a.1", "/run/exports/a/env", &source),
            // Repaired, and exchanged.
            mount(6, 5, "0:51", "/a.1", "/run/exports/a/env", &source),
            // In a container: of an export, of a name at the same path, of a part.
            mount(7, 1, "8:1", "/state/exports/b", "/pipsqueak", "/dev/sda1"),
            mount(8, 7, "0:50", "/b.2", "/pipsqueak/env", &source),
            mount(9, 1, "0:51", "/c.3/lib", "/packages/envs/c", &source),
            mount(10, 77, "0:50", "/d.4", "/packages/envs/d", &source),
            mount(11, 1, "0:55", "/f.6", "/f", &other),
            mount(12, 1, "8:1", "/g.7", "/g", &source),
            // Where all views are that are mounted nowhere.
            mount(13, 1, "0:50", "/", "/0", &source),
        ];
        let namespaces = [Namespace { process: "/proc/none".into(), mounts }];
        let places = Places::among(&namespaces, whole, makedev(0, 46), Some(&exports));
        assert_eq!(places.views.iter().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert_eq!(places.inodes, BTreeSet::new());
    }

    #[test]
    fn numbers_that_others_have_now_are_not_ours() {
        let whole = Path::new("/packages");
        let mounts = vec![
            mount(1, 0, "8:1", "/", "/", "/dev/sda1"),
            mount(2, 1, "0:46", "/", "/packages", "pipsqueak"),
            mount(3, 2, "0:50", "/a.1", "/packages/envs/a", &source(whole)),
            mount(4, 1, "0:51", "/a.1", "/others/envs/a", &source(Path::new("/others"))),
        ];
        let namespaces = [Namespace { process: "/proc/none".into(), mounts }];
        let known = [46, 51, 52].map(|minor| makedev(0, minor));
        let found = devices(&namespaces, whole, known.into());
        assert_eq!(found, [46, 50, 52].map(|minor| makedev(0, minor)).into());
    }
}
