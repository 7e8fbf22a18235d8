//! lookup, getattr, readdir, readlink, read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::VfsError;
use super::attributes::{Attributes, SHOWN_NAME, attributes, target};
use super::counters::Counters;
use super::entered::Entered;
use super::world::{Change, World, inode_of};
use crate::id::ObjectId;
use crate::store::buffers::Buffer;
use crate::store::local::Local;
use crate::store::read::{Content, Reader};
use crate::store::{NOWHERE, StoreError};
use crate::sync::{Mutex, RwLock};
use crate::view::index::{Index, Kind};
use crate::view::inode::{DISTS, EMPTY, ENVS, Inode, SHOWN, VIEWS};

/// A folder at the root that is not listed and never has anything in it. An overlay of one layer is
/// not to be had: this is the other.
pub const EMPTY_FOLDER: &str = ".empty";

/// A folder at the root that is not listed, and has every view by [`view_name`](crate::view_name): for
/// overlays, which believe that nothing changes below them, and for all views to be of one.
pub const VIEWS_FOLDER: &str = ".views";

/// Objects that are remembered as damaged until somebody asks; a scrub finds the others.
const MOST_SUSPECTS: usize = 1 << 16;

/// The last of the offsets in a listing that a folder itself and its parent have.
const OWN_OFFSETS: u64 = 2;

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Offset in the listing, which goes on after it.
    pub offset: u64,
    /// Name.
    pub name: String,
    /// Attributes of the node.
    pub attributes: Attributes,
}

/// The file system over a state folder.
#[derive(Debug)]
pub struct Vfs {
    views: PathBuf,
    reader: Reader,
    world: RwLock<Arc<World>>,
    /// Objects that were found damaged.
    suspects: Mutex<BTreeSet<ObjectId>>,
    /// Requests by operation.
    pub counters: Counters,
}

impl Vfs {
    /// Shows what is published in `state`.
    pub fn open(state: &Path) -> Result<Self, VfsError> {
        let views = state.join("views");
        let world = World::load(&views, &World::default())?;
        Ok(Self {
            views,
            reader: Reader::new(Local::of(state)).map_err(VfsError::Readahead)?,
            world: RwLock::new(Arc::new(world)),
            suspects: Mutex::default(),
            counters: Counters::default(),
        })
    }

    /// Shows what is published now; what is shown otherwise than before, if anything is.
    pub fn reload(&self) -> Result<Option<Change>, VfsError> {
        let earlier = self.world();
        let world = Arc::new(World::load(&self.views, &earlier)?);
        let change = world.change_from(&earlier);
        *self.world.write() = world.clone();
        if change.is_some() {
            self.reader.retain(&world.segments());
        }
        Ok(change)
    }

    /// Objects that were found damaged since this was asked last.
    pub fn take_suspects(&self) -> Vec<ObjectId> {
        let mut suspects = self.suspects.lock();
        std::mem::take(&mut *suspects).into_iter().collect()
    }

    /// A folder's entry by name; `None` if there is none.
    pub fn lookup(&self, folder: u64, name: &str) -> Result<Option<Attributes>, VfsError> {
        let world = self.world();
        let named = |names: &BTreeMap<String, String>, is_distribution| {
            let index = world.named(names, name)?;
            Ok::<_, VfsError>(index.map(|index| link_to(index, is_distribution)))
        };
        let view = |is_named| world.view_called(name).map(|index| root(index, is_named));
        let inode = match Inode::decode(folder).ok_or(VfsError::NoNode(folder))? {
            Inode::Root => match name {
                "envs" => Some(ENVS),
                "dists" => Some(DISTS),
                EMPTY_FOLDER => Some(EMPTY),
                VIEWS_FOLDER => Some(VIEWS),
                _ => None,
            },
            Inode::Envs if name == SHOWN_NAME => Some(SHOWN),
            Inode::Envs => named(&world.published()?.envs, false)?,
            Inode::Dists => named(&world.published()?.dists, true)?,
            Inode::Empty => None,
            Inode::Views => view(false),
            Inode::Shown => view(true),
            Inode::Object { .. } | Inode::EmptyFile { .. } | Inode::Name { .. } => {
                return Err(VfsError::Kind(folder, "folder"));
            }
            Inode::Node { number, is_named } => {
                let (index, node) = world.node(number).ok_or(VfsError::NoNode(folder))?;
                let child = index.child(node, name);
                child.and_then(|child| inode_of(index, child, is_named)).map(Inode::encode)
            }
        };
        inode.map(|inode| attributes(&world, inode)).transpose()
    }

    /// Tells the prefetcher which folder of which view a number is; `None` if there is nothing to
    /// read ahead of.
    pub fn entered(&self, folder: u64, thread: u32) -> Option<Entered> {
        let Some(Inode::Node { number, is_named }) = Inode::decode(folder) else { return None };
        let world = self.world();
        let (index, node) = world.node(number)?;
        let view = index.view().to_owned();
        (!index.trace().is_empty()).then_some(Entered { view, is_named, node, thread })
    }

    /// A node's attributes.
    pub fn attributes(&self, inode: u64) -> Result<Attributes, VfsError> {
        attributes(&self.world(), inode)
    }

    /// Entries of a folder after an offset, in the order of offsets: itself and its parent as `.`
    /// and `..`, then all others. An entry keeps its offset as long as it is there, whatever comes and goes
    /// beside it while somebody lists the folder.
    pub fn list(&self, folder: u64, offset: u64) -> Result<Vec<DirectoryEntry>, VfsError> {
        let world = self.world();
        let changes = matches!(Inode::decode(folder), Some(Inode::Envs | Inode::Dists));
        let children = children(&world, folder)?.into_iter().zip(OWN_OFFSETS + 1..);
        let mut all: Vec<_> = children
            .map(|((name, inode), next)| {
                (if changes { offset_of(&name) } else { next }, name, inode)
            })
            .collect();
        if changes {
            all.sort_unstable();
        }
        let own = [(1, ".".to_owned(), folder), (OWN_OFFSETS, "..".to_owned(), folder)];
        let rest = own.into_iter().chain(all).filter(|(at, ..)| *at > offset);
        let entries = rest.map(|(offset, name, inode)| {
            Ok(DirectoryEntry { offset, name, attributes: attributes(&world, inode)? })
        });
        entries.collect()
    }

    /// Returns the target of a link.
    pub fn link(&self, inode: u64) -> Result<String, VfsError> {
        let world = self.world();
        match Inode::decode(inode) {
            Some(Inode::Node { number, .. }) => {
                if let Some((index, node)) = world.node(number)
                    && let Some(Kind::Link(target)) = index.kind(node)
                {
                    return Ok(target.to_owned());
                }
            }
            Some(Inode::Name { number, is_distribution }) => {
                if let Some((index, _)) = world.node(number) {
                    return Ok(target(index, is_distribution));
                }
            }
            _ => {}
        }
        Err(VfsError::Kind(inode, "link"))
    }

    /// Part of a file's content, shorter than asked for only at its end.
    pub fn read(&self, inode: u64, offset: u64, length: usize) -> Result<Content, VfsError> {
        let world = self.world();
        match Inode::decode(inode) {
            Some(Inode::Object { id, .. }) => self.read_object(world, id, offset, length),
            Some(Inode::EmptyFile { .. }) => Ok(Content::Joined(Buffer::default())),
            _ => Err(VfsError::Kind(inode, "file")),
        }
    }

    /// Counts of operations that were asked for, and of what they have cost.
    pub fn counted(&self) -> BTreeMap<String, u64> {
        let mut counted = self.counters.snapshot();
        counted.insert("decoded-frames".to_owned(), self.reader.decoded());
        counted
    }

    fn read_object(
        &self,
        mut world: Arc<World>,
        id: ObjectId,
        offset: u64,
        length: usize,
    ) -> Result<Content, VfsError> {
        let inode = Inode::Object { id, executable: false, copy: 0 }.encode();
        loop {
            let (index, slot) = world.object(id).ok_or(VfsError::NoNode(inode))?;
            let location = index.location(slot).ok_or(VfsError::NoNode(inode))?;
            if location.segment == NOWHERE {
                return Err(VfsError::Quarantined(id));
            }
            let error = match self.reader.read(location, offset, length) {
                Ok(content) => return Ok(content),
                Err(error) => error,
            };
            let now = self.world();
            if Arc::ptr_eq(&world, &now) {
                self.suspect(id, &error);
                return Err(error.into());
            }
            // It was moved meanwhile, and where it was is gone.
            world = now;
        }
    }

    fn suspect(&self, id: ObjectId, error: &StoreError) {
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let is_damage = match error {
            StoreError::Damaged { .. } => true,
            StoreError::File { source, .. } => is_missing(source),
        };
        let mut suspects = self.suspects.lock();
        if is_damage && suspects.len() < MOST_SUSPECTS {
            suspects.insert(id);
        }
    }

    fn world(&self) -> Arc<World> {
        self.world.read().clone()
    }
}

/// The offset of a name in a listing of names, which may come and go: by its digest, so that it does not
/// depend on the others. No offset is larger than a file's offset may be.
fn offset_of(name: &str) -> u64 {
    let mut digest = [0; 8];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut digest);
    (u64::from_le_bytes(digest) >> 2).max(OWN_OFFSETS + 1)
}

/// Inode number of a view's root.
fn root(index: &Index, is_named: bool) -> u64 {
    Inode::Node { number: index.first_number(), is_named }.encode()
}

/// Inode number of a name that stands for a view.
fn link_to(index: &Index, is_distribution: bool) -> u64 {
    Inode::Name { number: index.first_number(), is_distribution }.encode()
}

/// Names and inode numbers of what a folder has.
fn children(world: &World, folder: u64) -> Result<Vec<(String, u64)>, VfsError> {
    let named = |names: &BTreeMap<String, String>, is_distribution| {
        let known = names.iter().filter_map(|(name, digest)| {
            let index = world.view(digest)?;
            Some((name.clone(), link_to(index, is_distribution)))
        });
        known.collect()
    };
    Ok(match Inode::decode(folder).ok_or(VfsError::NoNode(folder))? {
        Inode::Root => vec![("dists".to_owned(), DISTS), ("envs".to_owned(), ENVS)],
        Inode::Envs => named(&world.published()?.envs, false),
        Inode::Dists => named(&world.published()?.dists, true),
        Inode::Empty | Inode::Views | Inode::Shown => Vec::new(),
        Inode::Object { .. } | Inode::EmptyFile { .. } | Inode::Name { .. } => {
            return Err(VfsError::Kind(folder, "folder"));
        }
        Inode::Node { number, is_named } => {
            let (index, node) = world.node(number).ok_or(VfsError::NoNode(folder))?;
            let Some(Kind::Folder { first, count }) = index.kind(node) else {
                return Err(VfsError::Kind(folder, "folder"));
            };
            let children = (first..first.saturating_add(count)).filter_map(|child| {
                Some((index.name(child)?.to_owned(), inode_of(index, child, is_named)?.encode()))
            });
            children.collect()
        }
    })
}
