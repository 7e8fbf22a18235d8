//! Content of a view: pure data, from the lists of its distributions' files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::id::ObjectId;

/// Entry of a view at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewEntry {
    /// A file with content.
    File {
        /// Object.
        object: ObjectId,
        /// True if it may be executed.
        executable: bool,
    },
    /// A file without content.
    Empty {
        /// True if it may be executed.
        executable: bool,
    },
    /// A symbolic link and where it leads.
    Link(String),
}

/// A path relative to the view's root, its parts separated by `/`, and what is there.
pub type Entry = (String, ViewEntry);

/// The files of one distribution, and who that is.
#[derive(Debug, Clone)]
pub struct Part {
    /// `name version`, for messages.
    pub label: String,
    /// Files.
    pub entries: Vec<Entry>,
}

/// Two distributions bring different content for one path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{first} and {second} both bring {path}, with different content; leave one of them out")]
pub struct Conflict {
    /// The path.
    pub path: String,
    /// A distribution that brings it.
    pub first: String,
    /// Another.
    pub second: String,
}

/// The union of the parts, by path. The same content at the same path is no conflict; a file where
/// another part has a folder is.
///
/// Bytecode of one source may differ from one time that it is made to the next, and of different
/// sources it is the sources that are told of.
pub fn merge(parts: &[Part]) -> Result<BTreeMap<String, ViewEntry>, Conflict> {
    let mut merged: BTreeMap<String, (ViewEntry, &str)> = BTreeMap::new();
    let conflict = |path: &str, first: &str, second: &str| Conflict {
        path: path.to_owned(),
        first: first.to_owned(),
        second: second.to_owned(),
    };
    for part in parts {
        for (path, content) in &part.entries {
            match merged.get(path) {
                Some((known, _)) if known == content || is_cached_bytecode(path) => {}
                Some((_, first)) => return Err(conflict(path, first, &part.label)),
                None => {
                    merged.insert(path.clone(), (content.clone(), &part.label));
                }
            }
        }
    }
    for (path, (_, label)) in &merged {
        let ancestors = path.match_indices('/').map(|(end, _)| &path[..end]);
        for ancestor in ancestors {
            if let Some((_, first)) = merged.get(ancestor) {
                return Err(conflict(ancestor, first, label));
            }
        }
    }
    Ok(merged.into_iter().map(|(path, (content, _))| (path, content)).collect())
}

fn is_cached_bytecode(path: &str) -> bool {
    let path = Path::new(path);
    path.parent().is_some_and(|folder| folder.ends_with("__pycache__"))
        && path.extension().is_some_and(|extension| extension == "pyc")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(label: &str, entries: &[(&str, u64)]) -> Part {
        let entries = entries.iter().map(|(path, object)| {
            ((*path).to_owned(), ViewEntry::File { object: *object, executable: false })
        });
        Part { label: label.to_owned(), entries: entries.collect() }
    }

    #[test]
    fn equal_content_is_shared_and_different_content_is_told() {
        let one = part("one 1", &[("a/x", 1), ("a/y", 2)]);
        let two = part("two 1", &[("a/x", 1), ("b", 3)]);
        assert_eq!(merge(&[one.clone(), two]).unwrap().len(), 3);
        let again = part("two 1", &[("a/x", 1), ("a/__pycache__/x.cpython-311.pyc", 8)]);
        let compiled = part("one 1", &[("a/x", 1), ("a/__pycache__/x.cpython-311.pyc", 7)]);
        assert_eq!(merge(&[compiled.clone(), again]).unwrap().len(), 2);
        let other = part("two 1", &[("a/__pycache__/x.cpython-311.pyc", 8), ("a/x", 2)]);
        assert_eq!(merge(&[compiled, other]).unwrap_err().path, "a/x");
        let three = part("three 1", &[("a/y", 9)]);
        let conflict = merge(&[one.clone(), three]).unwrap_err();
        assert_eq!((conflict.first.as_str(), conflict.second.as_str()), ("one 1", "three 1"));
        let four = part("four 1", &[("a", 9)]);
        assert_eq!(merge(&[one, four]).unwrap_err().path, "a");
    }
}
