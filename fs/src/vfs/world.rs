//! What the mount shows at one moment: names, and every view that was ever published.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::id::ObjectId;
use crate::view::index::{Index, Kind};
use crate::view::published::{Published, index_path};

use super::VfsError;

/// A moment's views and names. Never changed: a new publication makes a new one.
#[derive(Debug, Default)]
pub struct World {
    pub published: Published,
    /// By digest, and so by name.
    views: HashMap<String, Arc<Index>>,
    /// By first node number: whose a node is.
    by_number: BTreeMap<u64, Arc<Index>>,
    /// Where each object is: some index that has it, and the place there.
    objects: HashMap<ObjectId, (Arc<Index>, u32)>,
}

impl World {
    /// What is published in the folder `views` now; what `earlier` has mapped is not read again,
    /// and what it had stays reachable for those who hold it.
    pub fn load(views: &Path, earlier: &Self) -> Result<Self, VfsError> {
        let published = Published::read(views).map_err(VfsError::Published)?;
        let mut world = Self {
            published,
            views: earlier.views.clone(),
            by_number: earlier.by_number.clone(),
            objects: earlier.objects.clone(),
        };
        for digest in all_digests(views)? {
            if !world.views.contains_key(&digest) {
                match Index::open(&index_path(views, &digest)) {
                    Ok(index) => world.add(digest, Arc::new(index)),
                    // One damaged view must not hide the others.
                    Err(error) => tracing::error!(%error, "a view is left out"),
                }
            }
        }
        Ok(world)
    }

    fn add(&mut self, digest: String, index: Arc<Index>) {
        for (object, place) in index.objects() {
            self.objects.entry(object).or_insert_with(|| (index.clone(), place));
        }
        index.forget();
        self.by_number.insert(index.first_number(), index.clone());
        self.views.insert(digest, index);
    }

    /// The view with a digest.
    pub fn view(&self, digest: &str) -> Option<&Arc<Index>> {
        self.views.get(digest)
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
