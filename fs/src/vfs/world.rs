//! What the mount shows at one moment: names, and every view whose index is there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::id::{ObjectId, SegmentId};
use crate::store::NOWHERE;
use crate::view::index::{Index, Kind};
use crate::view::published::{Published, index_path};

use super::VfsError;
use super::inode::Inode;

/// A moment's views and names. Never changed: a new publication makes a new one.
#[derive(Debug, Default)]
pub struct World {
    /// What is published; where that could not be read, why.
    published: Option<Published>,
    /// By digest, and so by name.
    views: HashMap<String, View>,
    /// By first node number: whose a node is.
    by_number: BTreeMap<u64, Arc<Index>>,
    /// Where each object is: some index that has it, and the place there.
    objects: HashMap<ObjectId, (Arc<Index>, u32)>,
}

/// A view's index, and which file it was read from.
#[derive(Debug, Clone)]
struct View {
    index: Arc<Index>,
    file: Identity,
}

/// Tells a file from one that has taken its place: number and change time.
type Identity = (u64, i64, i64);

/// What another moment shows otherwise, as far as the kernel may remember it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Inodes of folders, and names in them that mean something else now, or nothing.
    pub entries: Vec<(u64, String)>,
    /// Inodes of files of which the content is another, or is not shown any more.
    pub contents: Vec<u64>,
}

impl World {
    /// What is in the folder `views` now; what `earlier` has mapped is not read again unless another
    /// file is in its place. Where the names cannot be read, only what is known by number is shown.
    pub fn load(views: &Path, earlier: &Self) -> Result<Self, VfsError> {
        let published = match Published::read(views) {
            Ok(published) => Some(published),
            // Those who use what was published before must not notice.
            Err(error) if earlier.published.is_some() => return Err(VfsError::Published(error)),
            Err(error) => {
                tracing::error!(%error, "no names are shown");
                None
            }
        };
        let mut world = Self { published, ..Self::default() };
        let mut changed = false;
        let mut added = Vec::new();
        for digest in all_digests(views)? {
            let path = index_path(views, &digest);
            let file = match identity(&path) {
                Ok(file) => file,
                // It is being collected.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(VfsError::Published(error)),
            };
            let known = earlier.views.get(&digest);
            if let Some(view) = known.filter(|view| view.file == file) {
                world.views.insert(digest, view.clone());
                continue;
            }
            match Index::open(&path) {
                Ok(index) => {
                    changed |= known.is_some();
                    let index = Arc::new(index);
                    added.push(index.clone());
                    world.views.insert(digest, View { index, file });
                }
                // One damaged view must not hide the others.
                Err(error) => {
                    tracing::error!(%error, "a view is left as it was");
                    world.views.extend(known.map(|view| (digest, view.clone())));
                }
            }
        }
        changed |= earlier.views.keys().any(|digest| !world.views.contains_key(digest));
        if changed {
            added = world.views.values().map(|view| view.index.clone()).collect();
        } else {
            world.by_number.clone_from(&earlier.by_number);
            world.objects.clone_from(&earlier.objects);
        }
        for index in added {
            world.add(index);
        }
        Ok(world)
    }

    fn add(&mut self, index: Arc<Index>) {
        for (object, place) in index.objects() {
            self.objects.entry(object).or_insert_with(|| (index.clone(), place));
        }
        index.forget();
        self.by_number.insert(index.first_number(), index);
    }

    /// What is published.
    pub fn published(&self) -> Result<&Published, VfsError> {
        self.published.as_ref().ok_or_else(|| {
            VfsError::Published(io::Error::new(io::ErrorKind::InvalidData, "it is damaged"))
        })
    }

    /// The view that a name stands for, where it is one of `names`.
    pub fn named(
        &self,
        names: &BTreeMap<String, String>,
        name: &str,
    ) -> Result<Option<&Index>, VfsError> {
        let Some(digest) = names.get(name) else { return Ok(None) };
        // Its index could not be read: not the same as a name that is not there.
        self.view(digest).map(Some).ok_or_else(|| VfsError::Unreadable(digest.clone()))
    }

    /// The view with a digest.
    pub fn view(&self, digest: &str) -> Option<&Index> {
        self.views.get(digest).map(|view| view.index.as_ref())
    }

    /// Whose node a number is, and which.
    pub fn node(&self, number: u64) -> Option<(&Index, u32)> {
        let (first, index) = self.by_number.range(..=number).next_back()?;
        let node = u32::try_from(number - first).ok().filter(|node| *node < index.count())?;
        Some((index, node))
    }

    /// An index that knows where an object is, and its place there.
    pub fn object(&self, id: ObjectId) -> Option<(&Index, u32)> {
        self.objects.get(&id).map(|(index, place)| (index.as_ref(), *place))
    }

    /// How many folders a folder has in it.
    pub fn count_folders(index: &Index, first: u32, count: u32) -> u32 {
        let folders = (first..first.saturating_add(count))
            .filter(|node| matches!(index.kind(*node), Some(Kind::Folder { .. })));
        u32::try_from(folders.count()).unwrap_or(u32::MAX)
    }

    /// Segments that some object is in.
    pub fn segments(&self) -> HashSet<SegmentId> {
        let locations = self.objects.values().filter_map(|(index, place)| index.location(*place));
        locations.map(|location| location.segment).collect()
    }

    /// What this moment shows otherwise than an earlier one; nothing where it only shows more.
    pub fn change_from(&self, earlier: &Self) -> Option<Change> {
        let is_same = |(digest, before): (&String, &View)| {
            self.views.get(digest).is_some_and(|now| now.file == before.file)
        };
        if earlier.views.iter().all(is_same) {
            return None;
        }
        let mut change = Change::default();
        for (digest, before) in &earlier.views {
            match self.views.get(digest) {
                Some(now) if now.file == before.file => {}
                now => compare(&before.index, now.map(|now| &*now.index), &mut change),
            }
        }
        let is_shown = |id: &ObjectId| {
            let place = self.objects.get(id);
            let location = place.and_then(|(index, place)| index.location(*place));
            location.is_some_and(|location| location.segment != NOWHERE)
        };
        let gone: HashSet<ObjectId> =
            earlier.objects.keys().filter(|id| !is_shown(id)).copied().collect();
        for id in gone.iter().copied() {
            let both = [false, true].map(|executable| Inode::Object { id, executable }.encode());
            change.contents.extend(both);
        }
        for view in earlier.views.values() {
            let own = own_files(&view.index).filter(|(_, object)| gone.contains(object));
            change.contents.extend(own.map(|(inode, _)| inode));
        }
        Some(change)
    }
}

/// Files of a view that have inodes of their own, and the object of each.
fn own_files(index: &Index) -> impl Iterator<Item = (u64, ObjectId)> {
    (0..index.count()).filter_map(|node| match index.kind(node)? {
        Kind::File { object, is_own: true, .. } => Some((inode_of(index, node)?.encode(), object)),
        _ => None,
    })
}

/// Names in the folders of a view that mean something else in another of the same digest; those at
/// its root, where there is none.
fn compare(before: &Index, now: Option<&Index>, change: &mut Change) {
    let inode = |index: &Index, node: u32| inode_of(index, node).map(Inode::encode);
    let same_numbers =
        |now: &&Index| now.first_number() == before.first_number() && now.count() == before.count();
    let now = now.filter(same_numbers);
    if let Some(now) = now {
        let after: HashMap<u64, ObjectId> = own_files(now).collect();
        let other = own_files(before).filter(|(inode, object)| after.get(inode) != Some(object));
        change.contents.extend(other.map(|(inode, _)| inode));
    }
    let folders = if now.is_some() { before.count() } else { 1 };
    for folder in 0..folders {
        let Some(Kind::Folder { first, count }) = before.kind(folder) else { continue };
        for child in first..first.saturating_add(count) {
            let is_other = now.is_none_or(|now| inode(now, child) != inode(before, child));
            if let (true, Some(parent), Some(name)) =
                (is_other, inode(before, folder), before.name(child))
            {
                change.entries.push((parent, name.to_owned()));
            }
        }
    }
}

/// The inode of a view's node.
pub fn inode_of(index: &Index, node: u32) -> Option<Inode> {
    Some(match index.kind(node)? {
        Kind::File { object, executable, is_own: false, .. } => {
            Inode::Object { id: object, executable }
        }
        _ => Inode::Node(index.first_number() + u64::from(node)),
    })
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
}

fn all_digests(views: &Path) -> Result<Vec<String>, VfsError> {
    let mut digests = Vec::new();
    for entry in std::fs::read_dir(views).map_err(VfsError::Published)? {
        let path = entry.map_err(VfsError::Published)?.path();
        if path.extension().is_some_and(|extension| extension == "index")
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
        {
            digests.push(stem.to_owned());
        }
    }
    Ok(digests)
}
