//! Sizes on disk of what the catalog says.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::catalog::Snapshot;
use crate::id::{ObjectId, SegmentId};
use crate::repository::Repository;
use crate::store::Location;
use crate::store::sealed::Segment;
use crate::store::segment::{Directory, FRAME_BYTES};
use crate::view::published::index_path;

/// Sizes on disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// Directories of the segments that can be read.
    pub directories: BTreeMap<SegmentId, Directory>,
    /// Length of the index of each view in bytes, by digest.
    pub indexes: BTreeMap<String, u64>,
}

impl Disk {
    /// Looks at what is on disk of what the catalog says.
    pub fn of(repository: &Repository, snapshot: &Snapshot) -> Self {
        let directories = snapshot.segments.keys().filter_map(|id| {
            let segment = Segment::open(&*repository.segments, *id).ok()?;
            Some((*id, segment.directory().clone()))
        });
        let index =
            |digest: &String| (digest.clone(), length(&index_path(&repository.views, digest)));
        let indexes = snapshot.views.keys().map(index);
        Self { directories: directories.collect(), indexes: indexes.collect() }
    }

    /// Bytes of content of each segment.
    pub fn contents(&self) -> BTreeMap<SegmentId, u64> {
        self.directories.iter().map(|(id, directory)| (*id, directory.content())).collect()
    }

    /// Bytes of their segments that objects take: of a frame that several share, each its part.
    pub fn stored(&self, objects: &HashMap<ObjectId, Location>) -> HashMap<ObjectId, u64> {
        let mut used: HashMap<(SegmentId, u32), u64> = HashMap::new();
        for location in objects.values() {
            for (frame, bytes) in self.frames(*location) {
                *used.entry((location.segment, frame)).or_default() += bytes;
            }
        }
        let stored = objects.iter().map(|(id, location)| {
            let parts = self.frames(*location).map(|(frame, bytes)| {
                let directory = self.directories.get(&location.segment);
                let length = directory.and_then(|all| all.frame(frame)).map_or(0, |(_, len)| len);
                let shared = used.get(&(location.segment, frame)).copied().unwrap_or(bytes);
                length as u64 * bytes / shared.max(1)
            });
            (*id, parts.sum())
        });
        stored.collect()
    }

    /// The frames that an object has a part in, and how many bytes of content that is.
    fn frames(&self, location: Location) -> impl Iterator<Item = (u32, u64)> {
        let content = self.directories.get(&location.segment).map_or(0, Directory::content);
        let (begin, end) = (location.position, location.end().min(content));
        let frame_of = |position: u64| position / FRAME_BYTES as u64;
        let frames = if begin < end { frame_of(begin)..frame_of(end - 1) + 1 } else { 0..0 };
        frames.map(move |frame| {
            let from = begin.max(frame * FRAME_BYTES as u64);
            let to = end.min((frame + 1) * FRAME_BYTES as u64);
            (u32::try_from(frame).unwrap_or(u32::MAX), to - from)
        })
    }
}

/// Length of a file in bytes; 0 if there is none.
pub fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}
