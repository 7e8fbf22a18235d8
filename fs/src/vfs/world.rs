//! Names and views that the mount shows at one moment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::id::{ObjectId, SegmentId};
use crate::store::NOWHERE;
use crate::view::index::{Index, Kind};
use crate::view::published::{Published, index_path, view_name};

use super::VfsError;
use crate::view::inode::{DISTS, ENVS, Inode, SHOWN, VIEWS};

/// A moment's views and names. Never changed: a new publication makes a new one.
#[derive(Debug, Default)]
pub struct World {
    /// Published names, if they could be read.
    published: Option<Published>,
    /// Views by digest, and so by name.
    views: HashMap<String, View>,
    /// Indexes by the numbers of their first nodes, which tell whose a node is.
    by_number: BTreeMap<u64, Arc<Index>>,
    /// Objects: for each some index that has it, and the slot there.
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

/// Difference between two moments, as far as the kernel may remember it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Inodes of folders, and names in them that mean something else now, or nothing.
    pub entries: Vec<(u64, String)>,
    /// Inodes of files of which the content is another, or is not shown any more.
    pub contents: Vec<u64>,
}

impl World {
    /// Loads what is in the folder `views` now. What `earlier` has mapped is not read again unless another
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
        for (object, slot) in index.objects() {
            self.objects.entry(object).or_insert_with(|| (index.clone(), slot));
        }
        index.forget();
        self.by_number.insert(index.first_number(), index);
    }

    /// Returns what is published.
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

    /// The view that has a name in the folder of views.
    pub fn view_called(&self, name: &str) -> Option<&Index> {
        let (digest, _) = name.split_once('.')?;
        self.view(digest).filter(|index| view_name(digest, index.first_number()) == name)
    }

    /// Finds whose node a number is, and which.
    pub fn node(&self, number: u64) -> Option<(&Index, u32)> {
        let (first, index) = self.by_number.range(..=number).next_back()?;
        let node = u32::try_from(number - first).ok().filter(|node| *node < index.count())?;
        Some((index, node))
    }

    /// An index that knows where an object is, and its place there.
    pub fn object(&self, id: ObjectId) -> Option<(&Index, u32)> {
        self.objects.get(&id).map(|(index, slot)| (index.as_ref(), *slot))
    }

    /// Counts the folders in a folder.
    pub fn count_folders(index: &Index, first: u32, count: u32) -> u32 {
        let folders = (first..first.saturating_add(count))
            .filter(|node| matches!(index.kind(*node), Some(Kind::Folder { .. })));
        u32::try_from(folders.count()).unwrap_or(u32::MAX)
    }

    /// Segments that some object is in.
    pub fn segments(&self) -> HashSet<SegmentId> {
        let locations = self.objects.values().filter_map(|(index, slot)| index.location(*slot));
        locations.map(|location| location.segment).collect()
    }

    /// Compares this moment with an earlier one; `None` if it only shows more.
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
        if let Some(published) = &earlier.published {
            for (folder, names) in [(ENVS, &published.envs), (DISTS, &published.dists)] {
                let others = names.iter().filter(|(_, digest)| {
                    number_of(&self.views, digest) != number_of(&earlier.views, digest)
                });
                change.entries.extend(others.map(|(name, _)| (folder, name.clone())));
            }
        }
        let is_shown = |id: &ObjectId| {
            let slot = self.objects.get(id);
            let location = slot.and_then(|(index, slot)| index.location(*slot));
            location.is_some_and(|location| location.segment != NOWHERE)
        };
        let gone: HashSet<ObjectId> =
            earlier.objects.keys().filter(|id| !is_shown(id)).copied().collect();
        for view in earlier.views.values() {
            let files = objects_of(&view.index).filter(|(_, object)| gone.contains(object));
            change.contents.extend(files.map(|(inode, _)| inode));
        }
        change.contents.sort_unstable();
        change.contents.dedup();
        Some(change)
    }
}

/// Inodes of a view's files, and the object of each.
fn objects_of(index: &Index) -> impl Iterator<Item = (u64, ObjectId)> {
    (0..index.count()).filter_map(|node| match inode_of(index, node, false)? {
        inode @ Inode::Object { id, .. } => Some((inode.encode(), id)),
        _ => None,
    })
}

/// Number of the first node of a view.
fn number_of(views: &HashMap<String, View>, digest: &str) -> Option<u64> {
    views.get(digest).map(|view| view.index.first_number())
}

/// Names in the folders of a view that mean something else in another of the same digest; where there
/// is none, its own.
///
/// Else an entry of a file is left alone: an overlay of all views has one inode for a file of several,
/// and looks at it by the path at which it was found first.
fn compare(before: &Index, now: Option<&Index>, change: &mut Change) {
    let inode = |index: &Index, node: u32, is_named: bool| {
        inode_of(index, node, is_named).map(Inode::encode)
    };
    let same_numbers =
        |now: &&Index| now.first_number() == before.first_number() && now.count() == before.count();
    let now = now.filter(same_numbers);
    let Some(now) = now else {
        let name = view_name(before.view(), before.first_number());
        change.entries.extend([VIEWS, SHOWN].map(|folder| (folder, name.clone())));
        return;
    };
    for folder in 0..before.count() {
        let Some(Kind::Folder { first, count }) = before.kind(folder) else { continue };
        for child in first..first.saturating_add(count) {
            let is_other = inode(now, child, false) != inode(before, child, false);
            for is_named in [false, true].into_iter().filter(|_| is_other) {
                let parent = inode(before, folder, is_named);
                let entry = parent.zip(before.name(child).map(ToOwned::to_owned));
                change.entries.extend(entry);
            }
        }
    }
}

/// The inode of a view's node, which somebody has come to by a name, or by the folder of views.
pub fn inode_of(index: &Index, node: u32, is_named: bool) -> Option<Inode> {
    Some(match index.kind(node)? {
        Kind::File { object, executable, copy, .. } => {
            Inode::Object { id: object, executable, copy }
        }
        Kind::Empty { executable } => Inode::EmptyFile { executable },
        _ => Inode::Node { number: index.first_number() + u64::from(node), is_named },
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
