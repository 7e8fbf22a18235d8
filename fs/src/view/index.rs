//! A view's index: immutable, checksummed, mapped. All numbers are little-endian.
//!
//! ```text
//! header    magic, version, counts, number of the first node, BLAKE3 of all the rest
//! nodes     breadth first, so that a folder's children follow each other, sorted by name
//! objects   where the contents are
//! frames    lengths of the objects' frames
//! names     names and link targets, UTF-8, without separators
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::plan::Content;
use crate::id::ObjectId;
use crate::store::StoreError;
use crate::store::mapping::Mapping;
use crate::store::read::Location;

const MAGIC: [u8; 8] = *b"PSQKIDX\0";
const VERSION: u32 = 1;

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file system.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not what was written.
    #[error("index {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it was noticed.
        reason: &'static str,
    },
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    nodes: U32,
    objects: U32,
    frames: U32,
    names: U32,
    padding: U32,
    first_number: U64,
    checksum: [u8; 32],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawNode {
    name: U32,
    name_length: U16,
    kind: u8,
    executable: u8,
    /// First child, object, or the target's place among the names.
    first: U32,
    /// Number of children, or the target's length.
    count: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawObject {
    id: U64,
    size: U64,
    offset: U64,
    segment: U32,
    frames: U32,
    frame_count: U32,
    padding: U32,
}

const FOLDER: u8 = 0;
const FILE: u8 = 1;
const EMPTY: u8 = 2;
const LINK: u8 = 3;

/// Where an object of a view is: what an index needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The segment.
    pub segment: u32,
    /// Offset of its first frame.
    pub offset: u64,
    /// Size of its content.
    pub size: u64,
    /// Lengths of its frames.
    pub frames: Vec<u32>,
}

/// What a node is.
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
        /// Whether it may be executed.
        executable: bool,
    },
    /// A file without content.
    Empty {
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link and where it leads.
    Link(&'a str),
}

/// A view's index, checked.
#[derive(Debug)]
pub struct Index {
    mapping: Mapping,
    nodes: u32,
    objects: u32,
    frames: u32,
    first_number: u64,
}

/// Compiles a view: its entries, where their objects are, and the first of as many numbers as
/// [`count_nodes`] says.
pub fn compile(
    entries: &BTreeMap<String, Content>,
    placed: &HashMap<ObjectId, Placed>,
    first_number: u64,
) -> Vec<u8> {
    let mut builder = Builder::default();
    builder.add_tree(&Folder::of(entries), placed);
    builder.finish(first_number)
}

/// How many nodes a view has: one for each entry and each folder, the root included.
pub fn count_nodes(entries: &BTreeMap<String, Content>) -> u64 {
    Folder::of(entries).count()
}

/// A folder while a view is compiled.
#[derive(Default)]
struct Folder<'a> {
    folders: BTreeMap<&'a str, Folder<'a>>,
    others: BTreeMap<&'a str, &'a Content>,
}

impl<'a> Folder<'a> {
    fn of(entries: &'a BTreeMap<String, Content>) -> Self {
        let mut root = Self::default();
        for (path, content) in entries {
            let mut folder = &mut root;
            let mut parts = path.split('/').peekable();
            while let Some(part) = parts.next() {
                if parts.peek().is_some() {
                    folder = folder.folders.entry(part).or_default();
                } else {
                    folder.others.insert(part, content);
                }
            }
        }
        root
    }

    fn count(&self) -> u64 {
        1 + self.others.len() as u64 + self.folders.values().map(Folder::count).sum::<u64>()
    }

    /// Children of both sorts in the order of their names.
    fn children(&self) -> BTreeMap<&'a str, Result<&Folder<'a>, &'a Content>> {
        let folders = self.folders.iter().map(|(name, folder)| (*name, Ok(folder)));
        let others = self.others.iter().map(|(name, content)| (*name, Err(*content)));
        folders.chain(others).collect()
    }
}

#[derive(Default)]
struct Builder {
    nodes: Vec<RawNode>,
    objects: Vec<RawObject>,
    frames: Vec<U32>,
    names: Vec<u8>,
    known: HashMap<ObjectId, u32>,
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Builder {
    fn add_tree(&mut self, root: &Folder<'_>, placed: &HashMap<ObjectId, Placed>) {
        self.add_node("", FOLDER, false, 0, 0);
        let mut waiting = VecDeque::from([(0_usize, root)]);
        while let Some((number, folder)) = waiting.pop_front() {
            let first = self.nodes.len();
            let children = folder.children();
            self.nodes[number].first = narrow(first).into();
            self.nodes[number].count = narrow(children.len()).into();
            for (name, child) in children {
                match child {
                    Ok(folder) => {
                        waiting.push_back((self.nodes.len(), folder));
                        self.add_node(name, FOLDER, false, 0, 0);
                    }
                    Err(Content::File { object, executable }) => {
                        let object = self.add_object(*object, placed);
                        self.add_node(name, FILE, *executable, object, 0);
                    }
                    Err(Content::Empty { executable }) => {
                        self.add_node(name, EMPTY, *executable, 0, 0);
                    }
                    Err(Content::Link(target)) => {
                        let at = self.add_name(target);
                        self.add_node(name, LINK, false, at, narrow(target.len()));
                    }
                }
            }
        }
    }

    fn add_name(&mut self, name: &str) -> u32 {
        let at = narrow(self.names.len());
        self.names.extend_from_slice(name.as_bytes());
        at
    }

    fn add_node(&mut self, name: &str, kind: u8, executable: bool, first: u32, count: u32) {
        let at = self.add_name(name);
        self.nodes.push(RawNode {
            name: at.into(),
            name_length: u16::try_from(name.len()).unwrap_or(u16::MAX).into(),
            kind,
            executable: executable.into(),
            first: first.into(),
            count: count.into(),
        });
    }

    fn add_object(&mut self, id: ObjectId, placed: &HashMap<ObjectId, Placed>) -> u32 {
        if let Some(number) = self.known.get(&id) {
            return *number;
        }
        let number = narrow(self.objects.len());
        if let Some(place) = placed.get(&id) {
            self.objects.push(RawObject {
                id: id.into(),
                size: place.size.into(),
                offset: place.offset.into(),
                segment: place.segment.into(),
                frames: narrow(self.frames.len()).into(),
                frame_count: narrow(place.frames.len()).into(),
                padding: 0.into(),
            });
            self.frames.extend(place.frames.iter().map(|length| U32::new(*length)));
            self.known.insert(id, number);
        }
        number
    }

    fn finish(self, first_number: u64) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(self.nodes.as_bytes());
        body.extend_from_slice(self.objects.as_bytes());
        body.extend_from_slice(self.frames.as_bytes());
        body.extend_from_slice(&self.names);
        let mut header = Header {
            magic: MAGIC,
            version: VERSION.into(),
            nodes: narrow(self.nodes.len()).into(),
            objects: narrow(self.objects.len()).into(),
            frames: narrow(self.frames.len()).into(),
            names: narrow(self.names.len()).into(),
            padding: 0.into(),
            first_number: first_number.into(),
            checksum: [0; 32],
        };
        header.checksum = checksum(&header, &body);
        [header.as_bytes(), &body].concat()
    }
}

/// Digest of an index, its own place left out.
fn checksum(header: &Header, body: &[u8]) -> [u8; 32] {
    let before = std::mem::offset_of!(Header, checksum);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header.as_bytes()[..before]).update(body);
    *hasher.finalize().as_bytes()
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
        let (nodes, objects, frames) =
            (header.nodes.get(), header.objects.get(), header.frames.get());
        let sizes = u64::from(nodes) * size_of::<RawNode>() as u64
            + u64::from(objects) * size_of::<RawObject>() as u64
            + u64::from(frames) * size_of::<U32>() as u64
            + u64::from(header.names.get());
        if nodes == 0 || body.len() as u64 != sizes {
            return Err(damaged("its parts do not add up"));
        }
        let first_number = header.first_number.get();
        Ok(Self { mapping, nodes, objects, frames, first_number })
    }

    /// Number of the root: node `n` has this and `n`.
    pub fn first_number(&self) -> u64 {
        self.first_number
    }

    /// How many nodes there are.
    pub fn count(&self) -> u32 {
        self.nodes
    }

    /// What a node is; `None` where there is no such node, or it is not whole.
    pub fn kind(&self, node: u32) -> Option<Kind<'_>> {
        let raw = self.raw_nodes().get(node as usize)?;
        let executable = raw.executable != 0;
        Some(match raw.kind {
            FOLDER => Kind::Folder { first: raw.first.get(), count: raw.count.get() },
            FILE => {
                let object = self.raw_objects().get(raw.first.get() as usize)?;
                Kind::File { object: object.id.get(), size: object.size.get(), executable }
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

    /// Numbers of all objects, and how to find each again in this index.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectId, u32)> {
        self.raw_objects().iter().zip(0..).map(|(object, number)| (object.id.get(), number))
    }

    /// Where an object is, by its place in this index.
    pub fn location(&self, object: u32) -> Option<Location<'_>> {
        let raw = self.raw_objects().get(object as usize)?;
        let first = raw.frames.get() as usize;
        let frames = self.raw_frames().get(first..first + raw.frame_count.get() as usize)?;
        Some(Location {
            segment: raw.segment.get(),
            offset: raw.offset.get(),
            size: raw.size.get(),
            frames,
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

    fn raw_frames(&self) -> &[U32] {
        self.part(self.objects_end(), self.frames)
    }

    fn part<T: FromBytes + Immutable + KnownLayout>(&self, from: usize, count: u32) -> &[T] {
        let rest = self.mapping.get(from..).unwrap_or_default();
        <[T]>::ref_from_prefix_with_elems(rest, count as usize).map_or(&[], |(part, _)| part)
    }

    fn text(&self, at: u32, length: u32) -> Option<&str> {
        let names = self.objects_end() + self.frames as usize * size_of::<U32>();
        let from = names.checked_add(at as usize)?;
        let bytes = self.mapping.get(from..from.checked_add(length as usize)?)?;
        std::str::from_utf8(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = BTreeMap<String, Content>> {
        let content = prop_oneof![
            (1..50_u64, any::<bool>())
                .prop_map(|(object, executable)| Content::File { object, executable }),
            any::<bool>().prop_map(|executable| Content::Empty { executable }),
            "[a-z/.]{1,9}".prop_map(Content::Link),
        ];
        // A name is never a folder's in one path and a file's in another: files end in `.f`.
        proptest::collection::btree_map("([a-cé]{1,2}/){0,3}[a-d]{1,3}\\.f", content, 0..40)
    }

    fn placed() -> HashMap<ObjectId, Placed> {
        (1..50_u64)
            .map(|id| {
                let place = Placed { segment: 3, offset: id * 10, size: id, frames: vec![7; 2] };
                (id, place)
            })
            .collect()
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
            let index = open(&compile(&entries, &placed(), 100)).unwrap();
            prop_assert_eq!(u64::from(index.count()), count_nodes(&entries));
            for (path, content) in &entries {
                let node = find(&index, path).unwrap();
                let expected = match content {
                    Content::File { object, executable } => {
                        Kind::File { object: *object, size: *object, executable: *executable }
                    }
                    Content::Empty { executable } => Kind::Empty { executable: *executable },
                    Content::Link(target) => Kind::Link(target),
                };
                prop_assert_eq!(index.kind(node), Some(expected));
            }
            let known = entries.keys().any(|path| path.starts_with(&format!("{other}/")));
            prop_assert_eq!(find(&index, &other).is_some(), known);
            for (object, number) in index.objects() {
                let location = index.location(number).unwrap();
                prop_assert_eq!((location.offset, location.frames.len()), (object * 10, 2));
            }
        }

        #[test]
        fn a_damaged_index_is_refused(
            entries in entries(),
            flip in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = compile(&entries, &placed(), 100);
            let mut flipped = bytes.clone();
            flipped[flip.index(bytes.len())] ^= 0x10;
            prop_assert!(open(&flipped).is_err());
            prop_assert!(open(&bytes[..cut.index(bytes.len())]).is_err());
        }
    }
}
