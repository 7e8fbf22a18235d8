//! Reading a view's index: checked whole when it is opened, then looked up in place.

use std::path::{Path, PathBuf};

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::format::{
    EMPTY, FILE, FOLDER, Header, LINK, MAGIC, RawNode, RawObject, VERSION, checksum,
};
use crate::id::ObjectId;
use crate::store::mapping::Mapping;
use crate::store::{Location, StoreError};
use crate::view::inode::COPIES;

/// Reason why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file system.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index is not what was written.
    #[error("index {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Sign by which the damage was noticed.
        reason: &'static str,
    },
}

/// Kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A folder; its children are these nodes.
    Folder {
        /// First child.
        first: u32,
        /// Number of children.
        count: u32,
    },
    /// A file with content.
    File {
        /// The object.
        object: ObjectId,
        /// Size in bytes.
        size: u64,
        /// True if it may be executed.
        executable: bool,
        /// Tells copies of the object apart that must not be one file to a loader.
        copy: u32,
    },
    /// A file without content.
    Empty {
        /// True if it may be executed.
        executable: bool,
    },
    /// A symbolic link and where it leads.
    Link(&'a str),
}

/// A view's index, checked.
#[derive(Debug)]
pub struct Index {
    mapping: Mapping,
    view: String,
    nodes: u32,
    objects: u32,
    trace: u32,
    first_number: u64,
}

impl Index {
    /// Maps an index and checks all of it.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let damaged = |reason| IndexError::Damaged { path: path.to_owned(), reason };
        let mapping = Mapping::open(path)?;
        let (header, body) = Header::ref_from_prefix(&mapping)
            .map_err(|_| damaged("it is shorter than a header"))?;
        if header.magic != MAGIC || header.version.get() != VERSION {
            return Err(damaged("it does not begin as an index of this version does"));
        }
        if checksum(header, body) != header.checksum {
            return Err(damaged("its checksum is wrong"));
        }
        let (nodes, objects) = (header.nodes.get(), header.objects.get());
        let sizes = u64::from(nodes) * size_of::<RawNode>() as u64
            + u64::from(objects) * size_of::<RawObject>() as u64
            + u64::from(header.names.get())
            + u64::from(header.trace.get());
        if nodes == 0 || body.len() as u64 != sizes {
            return Err(damaged("its parts do not add up"));
        }
        let (first_number, trace) = (header.first_number.get(), header.trace.get());
        let view = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { mapping, view, nodes, objects, trace, first_number })
    }

    /// The view that it is of.
    pub fn view(&self) -> &str {
        &self.view
    }

    /// Trace of its imports, as [`crate::trace`] writes it; empty if it is not known.
    pub fn trace(&self) -> &[u8] {
        let from = self.mapping.len().saturating_sub(self.trace as usize);
        self.mapping.get(from..).unwrap_or_default()
    }

    /// Number of the root: node `n` has this and `n`.
    pub fn first_number(&self) -> u64 {
        self.first_number
    }

    /// Number of nodes.
    pub fn count(&self) -> u32 {
        self.nodes
    }

    /// Kind of a node; `None` if there is no such node, or it is not whole.
    pub fn kind(&self, node: u32) -> Option<Kind<'_>> {
        let raw = self.raw_nodes().get(node as usize)?;
        let executable = raw.executable != 0;
        Some(match raw.kind {
            FOLDER => {
                let (first, count) = (raw.first.get(), raw.count.get());
                // Children follow their folder, so that no path leads in a circle.
                let is_whole =
                    count == 0 || (first > node && count <= self.nodes - first.min(self.nodes));
                if !is_whole {
                    return None;
                }
                Kind::Folder { first, count }
            }
            FILE => {
                let object = self.raw_objects().get(raw.first.get() as usize)?;
                let (object, size) = (object.id.get(), object.size.get());
                Kind::File { object, size, executable, copy: raw.count.get() % COPIES }
            }
            EMPTY => Kind::Empty { executable },
            LINK => Kind::Link(self.text(raw.first.get(), raw.count.get())?),
            _ => return None,
        })
    }

    /// A node's name.
    pub fn name(&self, node: u32) -> Option<&str> {
        let raw = self.raw_nodes().get(node as usize)?;
        self.text(raw.name.get(), raw.name_length.get().into())
    }

    /// The child of a folder that has a name.
    pub fn child(&self, folder: u32, name: &str) -> Option<u32> {
        let Some(Kind::Folder { first, count }) = self.kind(folder) else { return None };
        let (mut low, mut high) = (first, first.checked_add(count)?);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle)?.cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Gives back the memory that checking the index took: most of it is never looked at again.
    pub fn forget(&self) {
        if let Err(error) = self.mapping.forget() {
            tracing::debug!(%error, "keeping the pages of an index");
        }
    }

    /// Numbers of all objects, and how to find each again in this index.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectId, u32)> {
        self.raw_objects().iter().zip(0..).map(|(object, number)| (object.id.get(), number))
    }

    /// Location of an object, by its slot in this index.
    pub fn location(&self, object: u32) -> Option<Location> {
        let raw = self.raw_objects().get(object as usize)?;
        Some(Location {
            segment: raw.segment.get(),
            position: raw.position.get(),
            size: raw.size.get(),
        })
    }

    fn raw_nodes(&self) -> &[RawNode] {
        self.part(size_of::<Header>(), self.nodes)
    }

    fn nodes_end(&self) -> usize {
        size_of::<Header>() + self.nodes as usize * size_of::<RawNode>()
    }

    fn raw_objects(&self) -> &[RawObject] {
        self.part(self.nodes_end(), self.objects)
    }

    fn objects_end(&self) -> usize {
        self.nodes_end() + self.objects as usize * size_of::<RawObject>()
    }

    fn part<T: FromBytes + Immutable + KnownLayout>(&self, from: usize, count: u32) -> &[T] {
        let rest = self.mapping.get(from..).unwrap_or_default();
        <[T]>::ref_from_prefix_with_elems(rest, count as usize).map_or(&[], |(part, _)| part)
    }

    fn text(&self, at: u32, length: u32) -> Option<&str> {
        let from = self.objects_end().checked_add(at as usize)?;
        let bytes = self.mapping.get(from..from.checked_add(length as usize)?)?;
        std::str::from_utf8(bytes).ok()
    }
}

/// Gives the bytes of an index the checksum that belongs to them, where they are long enough for one.
pub(crate) fn reseal(bytes: &mut [u8]) {
    if let Ok((header, body)) = Header::mut_from_prefix(bytes) {
        header.checksum = checksum(header, body);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::super::compile::{compile, count_nodes};
    use super::super::merge::ViewEntry;
    use super::*;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = BTreeMap<String, ViewEntry>> {
        let content = prop_oneof![
            (1..50_u64, any::<bool>())
                .prop_map(|(object, executable)| ViewEntry::File { object, executable }),
            any::<bool>().prop_map(|executable| ViewEntry::Empty { executable }),
            "[a-z/.]{1,9}".prop_map(ViewEntry::Link),
        ];
        // A name is never a folder's in one path and a file's in another: files end in `.f`.
        proptest::collection::btree_map("([a-cé]{1,2}/){0,3}[a-d]{1,3}\\.f", content, 0..40)
    }

    fn locations() -> HashMap<ObjectId, Location> {
        let location = |id| Location { segment: 3, position: id * 10, size: id };
        (1..50_u64).map(|id| (id, location(id))).collect()
    }

    fn open(bytes: &[u8]) -> Result<Index, IndexError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Index::open(file.path())
    }

    fn find(index: &Index, path: &str) -> Option<u32> {
        path.split('/').try_fold(0, |folder, name| index.child(folder, name))
    }

    proptest! {
        #[test]
        fn everything_is_found_and_nothing_else(entries in entries(), other in "[a-d/]{1,6}") {
            let index = open(&compile(&entries, &locations(), 100, b"trace")).unwrap();
            prop_assert_eq!(u64::from(index.count()), count_nodes(&entries));
            for (path, content) in &entries {
                let node = find(&index, path).unwrap();
                let expected = match content {
                    ViewEntry::File { object, executable } => {
                        let (object, size) = (*object, *object);
                        Kind::File { object, size, executable: *executable, copy: 0 }
                    }
                    ViewEntry::Empty { executable } => Kind::Empty { executable: *executable },
                    ViewEntry::Link(target) => Kind::Link(target),
                };
                prop_assert_eq!(index.kind(node), Some(expected));
            }
            let known = entries.keys().any(|path| path.starts_with(&format!("{other}/")));
            prop_assert_eq!(find(&index, &other).is_some(), known);
            prop_assert_eq!(index.trace(), b"trace");
            for (object, number) in index.objects() {
                let location = index.location(number).unwrap();
                prop_assert_eq!(location, Location { segment: 3, position: object * 10, size: object });
            }
        }

        #[test]
        fn a_damaged_index_is_refused(
            entries in entries(),
            flip in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = compile(&entries, &locations(), 100, b"trace");
            let mut flipped = bytes.clone();
            flipped[flip.index(bytes.len())] ^= 0x10;
            prop_assert!(open(&flipped).is_err());
            prop_assert!(open(&bytes[..cut.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn paths_of_one_library_are_copies_which_are_the_same_in_a_part_of_a_view() {
        const SITE: &str = "lib/python3.11/site-packages";
        let paths = [("a/x.so", 1), ("b/y.so.1", 1), ("c/x.py", 2), ("c/y.py", 2), ("d/x.so", 3)];
        let copies = |site: &str, of: &[(&str, ObjectId)]| {
            let file = |object| ViewEntry::File { object, executable: false };
            let entries = of.iter().map(|(path, object)| (format!("{site}/{path}"), file(*object)));
            let index = open(&compile(&entries.collect(), &locations(), 100, b"")).unwrap();
            let copy =
                |path: &str| match index.kind(find(&index, &format!("{site}/{path}")).unwrap()) {
                    Some(Kind::File { copy, .. }) => copy,
                    other => panic!("{other:?}"),
                };
            of.iter().map(|(path, _)| copy(path)).collect::<Vec<_>>()
        };
        let all = copies(SITE, &paths);
        assert!(all[0] != all[1] && all[0] != 0 && all[1] != 0 && all[4] != 0, "{all:?}");
        assert_eq!(all[2..4], [0, 0]);
        assert_eq!(copies(SITE, &paths[1..]), all[1..]);
        // Another interpreter's are the same.
        assert_eq!(copies("lib/python3.12/site-packages", &paths), all);
    }
}
