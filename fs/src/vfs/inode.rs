//! Inode numbers: content for files, a place of its own for all else.
//!
//! ```text
//! 1, 2, 3           the root, its folders envs and dists
//! 7                 the empty folder
//! object << 2 | x   a file; x is 1 where it may be executed. The same content in two environments
//!                   is one inode, and one copy in the page cache.
//! node << 2 | 2     a folder, a link, an empty file, or a further copy of a shared library in one
//!                   view: one of the view's own numbers
//! ```
//!
//! Objects and nodes are numbered from 1 and never reuse a number, so neither do inodes.

use crate::id::ObjectId;

/// The root.
pub const ROOT: u64 = 1;
/// The folder of environments.
pub const ENVS: u64 = 2;
/// The folder of distributions.
pub const DISTS: u64 = 3;
/// The empty folder.
pub const EMPTY: u64 = 7;

/// What an inode number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inode {
    /// The root.
    Root,
    /// The folder of environments.
    Envs,
    /// The folder of distributions.
    Dists,
    /// The folder that never has anything in it.
    Empty,
    /// A file's content.
    Object {
        /// The object.
        id: ObjectId,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A node of some view, by its number.
    Node(u64),
}

impl Inode {
    /// What a number says; `None` where it says nothing.
    pub fn decode(number: u64) -> Option<Self> {
        Some(match (number, number & 3) {
            (ROOT, _) => Self::Root,
            (ENVS, _) => Self::Envs,
            (DISTS, _) => Self::Dists,
            (EMPTY, _) => Self::Empty,
            (0..4, _) | (_, 3) => return None,
            (_, 2) => Self::Node(number >> 2),
            (_, executable) => Self::Object { id: number >> 2, executable: executable == 1 },
        })
    }

    /// Its number.
    pub fn encode(self) -> u64 {
        match self {
            Self::Root => ROOT,
            Self::Envs => ENVS,
            Self::Dists => DISTS,
            Self::Empty => EMPTY,
            Self::Object { id, executable } => id << 2 | u64::from(executable),
            Self::Node(number) => number << 2 | 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_meanings_are_one_to_one(number in 0..100_000_u64, id in 1..1_u64 << 60, executable: bool) {
            if let Some(inode) = Inode::decode(number) {
                prop_assert_eq!(inode.encode(), number);
            }
            for inode in [Inode::Object { id, executable }, Inode::Node(id)] {
                prop_assert_eq!(Inode::decode(inode.encode()), Some(inode));
            }
        }
    }
}
