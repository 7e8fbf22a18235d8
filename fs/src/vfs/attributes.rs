//! Attributes of nodes.

use std::time::{Duration, SystemTime};

use super::VfsError;
use super::world::World;
use crate::view::index::{Index, Kind};
use crate::view::inode::Inode;
use crate::view::published::{Published, view_name};

/// Modification time of all that never changes, in seconds: 1980-01-02, which even a zip file can
/// hold. A folder whose listing changes is as many seconds later as its generation.
const EPOCH_SECONDS: u64 = 315_619_200;

/// The folder to which the names of environments and distributions lead, from the mount's root. It is not
/// listed, and has every view by the same names. An overlay of all views may lie on it: one mount for all
/// names. It is below the environments so that whoever has those mounted elsewhere has it too.
pub const SHOWN_FOLDER: &str = "envs/.views";

/// Name among the environments: none of theirs begins with a dot.
pub const SHOWN_NAME: &str = ".views";

/// Kind of a node to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
}

/// A node's attributes; owner and times are the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Inode number.
    pub inode: u64,
    /// Kind of the node.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u16,
    /// Number of links.
    pub links: u32,
    /// Time of the last modification.
    pub modified: SystemTime,
}

/// The target of a name that stands for a view, from the folder that has the name.
pub fn target(index: &Index, is_distribution: bool) -> String {
    let name = view_name(index.view(), index.first_number());
    if is_distribution {
        format!("../{SHOWN_FOLDER}/{name}")
    } else {
        format!("{SHOWN_NAME}/{name}")
    }
}

/// Modes of folders and executable files, and of all else: those that pip gives them. What is copied out of
/// a package with its mode is then its owner's to change; in the mount nobody changes anything, for it is
/// read-only.
const EXECUTABLE: u16 = 0o755;
const PLAIN: u16 = 0o644;

/// The attributes of a node, by its inode number.
pub fn attributes(world: &World, inode: u64) -> Result<Attributes, VfsError> {
    let missing = || VfsError::NoNode(inode);
    let folder = |links, seconds| Attributes {
        inode,
        kind: FileKind::Folder,
        size: 4096,
        mode: EXECUTABLE,
        links,
        modified: time(seconds),
    };
    let file = |size, executable| Attributes {
        inode,
        kind: FileKind::File,
        size,
        mode: if executable { EXECUTABLE } else { PLAIN },
        links: 1,
        modified: time(0),
    };
    let link = |target: &str| Attributes {
        kind: FileKind::Link,
        mode: 0o777,
        ..file(target.len() as u64, false)
    };
    // As many links as folders: the names are links.
    let names = |folders: u32, published: &Published| folder(2 + folders, published.generation);
    Ok(match Inode::decode(inode).ok_or(VfsError::NoNode(inode))? {
        Inode::Root => folder(4, 0),
        Inode::Empty | Inode::Views | Inode::Shown => folder(2, 0),
        Inode::Envs => names(1, world.published()?),
        Inode::Dists => names(0, world.published()?),
        Inode::EmptyFile { executable } => file(0, executable),
        Inode::Object { id, executable, .. } => {
            let (index, slot) = world.object(id).ok_or_else(missing)?;
            file(index.location(slot).ok_or_else(missing)?.size, executable)
        }
        Inode::Node { number, .. } => {
            let (index, node) = world.node(number).ok_or_else(missing)?;
            match index.kind(node).ok_or_else(missing)? {
                Kind::Folder { first, count } => {
                    folder(2 + World::count_folders(index, first, count), 0)
                }
                Kind::File { .. } | Kind::Empty { .. } => return Err(missing()),
                Kind::Link(target) => link(target),
            }
        }
        Inode::Name { number, is_distribution } => {
            let (index, _) = world.node(number).ok_or_else(missing)?;
            link(&target(index, is_distribution))
        }
    })
}

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_SECONDS + seconds)
}
