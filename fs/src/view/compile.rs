//! Compiling a view: from what is at each path to the bytes of its index.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use zerocopy::IntoBytes;

use super::format::{
    EMPTY, FILE, FOLDER, Header, LINK, MAGIC, RawNode, RawObject, VERSION, checksum,
};
use super::merge::ViewEntry;
use crate::id::ObjectId;
use crate::store::Location;
use crate::view::inode::COPIES;

/// Compiles a view: its entries, where their objects are, the first of as many numbers as
/// [`count_nodes`] says, and what imports from it read.
pub fn compile(
    entries: &BTreeMap<String, ViewEntry>,
    locations: &HashMap<ObjectId, Location>,
    first_number: u64,
    trace: &[u8],
) -> Vec<u8> {
    let mut builder = Builder::default();
    builder.add_tree(&Folder::of(entries), locations);
    builder.finish(first_number, trace)
}

/// Counts the nodes of a view: one for each entry and each folder, the root included.
pub fn count_nodes(entries: &BTreeMap<String, ViewEntry>) -> u64 {
    Folder::of(entries).count()
}

/// A folder while a view is compiled.
#[derive(Default)]
struct Folder<'a> {
    folders: BTreeMap<&'a str, Folder<'a>>,
    others: BTreeMap<&'a str, &'a ViewEntry>,
}

impl<'a> Folder<'a> {
    fn of(entries: &'a BTreeMap<String, ViewEntry>) -> Self {
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
    fn children(&self) -> BTreeMap<&'a str, Child<'_, 'a>> {
        let folders = self.folders.iter().map(|(name, folder)| (*name, Child::Folder(folder)));
        let others = self.others.iter().map(|(name, content)| (*name, Child::Other(content)));
        folders.chain(others).collect()
    }
}

/// A child of a folder.
enum Child<'f, 'a> {
    Folder(&'f Folder<'a>),
    Other(&'a ViewEntry),
}

#[derive(Default)]
struct Builder {
    nodes: Vec<RawNode>,
    objects: Vec<RawObject>,
    names: Vec<u8>,
    known: HashMap<ObjectId, u32>,
    /// Copies of shared libraries that some path is already, and whether they may be executed.
    copies: HashSet<(ObjectId, bool, u32)>,
}

/// True if a file is a shared library by its name: `x.so`, `x.so.1`. The loader tells one from another
/// by its inode: it gives two paths of one inode the same state, and one path two states where its
/// inode has changed. So which copy of its content a library is follows from its path alone.
fn is_loadable(name: &str) -> bool {
    let mut parts = name.split('.').skip(1);
    parts.any(|part| part == "so")
        && parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Number of a shared library's copy of its content, by where it is among packages, whatever the
/// interpreter.
fn copy_at(path: &str) -> u32 {
    const PACKAGES: &str = "/site-packages/";
    let packaged = path.find(PACKAGES).map_or(path, |found| &path[found + PACKAGES.len()..]);
    let hash = blake3::hash(packaged.as_bytes());
    let number = hash.as_bytes().first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    1 + number % (COPIES - 1)
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Builder {
    fn add_tree(&mut self, root: &Folder<'_>, locations: &HashMap<ObjectId, Location>) {
        self.add_node("", FOLDER, false, 0, 0);
        let mut waiting = VecDeque::from([(0_usize, String::new(), root)]);
        while let Some((number, path, folder)) = waiting.pop_front() {
            let first = self.nodes.len();
            let children = folder.children();
            self.nodes[number].first = narrow(first).into();
            self.nodes[number].count = narrow(children.len()).into();
            for (name, child) in children {
                match child {
                    Child::Folder(folder) => {
                        waiting.push_back((self.nodes.len(), format!("{path}{name}/"), folder));
                        self.add_node(name, FOLDER, false, 0, 0);
                    }
                    Child::Other(ViewEntry::File { object, executable }) => {
                        let copy = if is_loadable(name) {
                            self.copy(*object, *executable, copy_at(&format!("{path}{name}")))
                        } else {
                            0
                        };
                        let object = self.add_object(*object, locations);
                        self.add_node(name, FILE, *executable, object, copy);
                    }
                    Child::Other(ViewEntry::Empty { executable }) => {
                        self.add_node(name, EMPTY, *executable, 0, 0);
                    }
                    Child::Other(ViewEntry::Link(target)) => {
                        let at = self.add_name(target);
                        self.add_node(name, LINK, false, at, narrow(target.len()));
                    }
                }
            }
        }
    }

    /// The copy that a library is to be, or the next that no other path in this view is.
    fn copy(&mut self, object: ObjectId, executable: bool, wanted: u32) -> u32 {
        let mut copy = wanted;
        while !self.copies.insert((object, executable, copy)) {
            copy = 1 + copy % (COPIES - 1);
        }
        copy
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

    fn add_object(&mut self, id: ObjectId, locations: &HashMap<ObjectId, Location>) -> u32 {
        if let Some(number) = self.known.get(&id) {
            return *number;
        }
        let number = narrow(self.objects.len());
        if let Some(location) = locations.get(&id) {
            self.objects.push(RawObject {
                id: id.into(),
                size: location.size.into(),
                position: location.position.into(),
                segment: location.segment.into(),
                padding: 0.into(),
            });
            self.known.insert(id, number);
        }
        number
    }

    fn finish(self, first_number: u64, trace: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(self.nodes.as_bytes());
        body.extend_from_slice(self.objects.as_bytes());
        body.extend_from_slice(&self.names);
        body.extend_from_slice(trace);
        let mut header = Header {
            magic: MAGIC,
            version: VERSION.into(),
            nodes: narrow(self.nodes.len()).into(),
            objects: narrow(self.objects.len()).into(),
            names: narrow(self.names.len()).into(),
            first_number: first_number.into(),
            trace: narrow(trace.len()).into(),
            padding: 0.into(),
            checksum: [0; 32],
        };
        header.checksum = checksum(&header, &body);
        [header.as_bytes(), &body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::is_loadable;

    #[test]
    fn libraries_are_told_by_their_names() {
        for name in
            ["x.so", "x.cpython-311-x86_64-linux-gnu.so", "libx.so.5.0.0", "x-1.2.so.1", ".x.so"]
        {
            assert!(is_loadable(name), "{name}");
        }
        for name in ["x.py", "so", "x.so.py", "x.so.", "xso", "x.so.1a", "x.sofa.1"] {
            assert!(!is_loadable(name), "{name}");
        }
    }
}
