//! Compiling a view: from what is at each path to the bytes of its index.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use zerocopy::IntoBytes;

use super::format::{
    EMPTY, FILE, FOLDER, Header, LINK, MAGIC, OWN_FILE, RawNode, RawObject, VERSION, checksum,
};
use super::plan::Content;
use crate::id::ObjectId;
use crate::store::Location;

/// Compiles a view: its entries, where their objects are, the first of as many numbers as
/// [`count_nodes`] says, and what imports from it read.
pub fn compile(
    entries: &BTreeMap<String, Content>,
    locations: &HashMap<ObjectId, Location>,
    first_number: u64,
    trace: &[u8],
) -> Vec<u8> {
    let mut builder = Builder::default();
    builder.add_tree(&Folder::of(entries), locations);
    builder.finish(first_number, trace)
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
    names: Vec<u8>,
    known: HashMap<ObjectId, u32>,
    /// Shared libraries, and whether they may be executed, that some path has already.
    loadable: HashSet<(ObjectId, bool)>,
}

/// Whether a file is a shared library by its name: `x.so`, `x.so.1`. The loader tells one from another
/// by its inode, and gives two paths of one inode the same state.
fn is_loadable(name: &str) -> bool {
    let mut parts = name.split('.').skip(1);
    parts.any(|part| part == "so")
        && parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Builder {
    fn add_tree(&mut self, root: &Folder<'_>, locations: &HashMap<ObjectId, Location>) {
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
                        let is_loaded_already =
                            is_loadable(name) && !self.loadable.insert((*object, *executable));
                        let kind = if is_loaded_already { OWN_FILE } else { FILE };
                        let object = self.add_object(*object, locations);
                        self.add_node(name, kind, *executable, object, 0);
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
