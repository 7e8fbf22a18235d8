//! Inode numbers: content for files, a place of its own for all else.
//!
//! ```text
//! 1, 2, 3                       the root, its folders envs and dists
//! 7, 11, 23                     the empty folder, the folder of views, that to which names lead
//! 15, 19                        an empty file, one that may be executed
//! copy << 40 | object << 2 | x  a file; x is 1 where it may be executed. The same content in two
//!                               environments is one inode, and one copy in the page cache; but of
//!                               shared libraries only at the same path, which is what copy says.
//! node << 2 | 2                 a folder or a link: one of the view's own numbers
//! 1 << 40 | node << 2 | 2       the same, where it was come to by a name: the kernel knows a folder
//!                               by one path
//! 2 << 40 | node << 2 | 2       the name of an environment: a link to the view with that first node
//! 3 << 40 | node << 2 | 2       the name of a distribution, likewise
//! ```
//!
//! A file's number says the same in each view that has it at its path: who was shown some of an
//! environment and is shown all of it later sees the same files. Objects and nodes are numbered from 1 and
//! never reuse a number, so neither do inodes.

use crate::id::ObjectId;

/// The root.
pub const ROOT: u64 = 1;
/// The folder of environments.
pub const ENVS: u64 = 2;
/// The folder of distributions.
pub const DISTS: u64 = 3;
/// The empty folder.
pub const EMPTY: u64 = 7;
/// The folder of views.
pub const VIEWS: u64 = 11;
/// The folder of views to which names lead.
pub const SHOWN: u64 = 23;
/// Empty files, by whether they may be executed.
const EMPTY_FILES: [u64; 2] = [15, 19];

/// Bit at which begins what tells apart numbers of the same object or node.
const VARIANT: u32 = 40;
/// Numbers of copies are below this.
pub const COPIES: u32 = 1 << 22;

/// Meaning of an inode number.
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
    /// The folder of views.
    Views,
    /// The folder of views to which names lead.
    Shown,
    /// A file without content.
    EmptyFile {
        /// True if it may be executed.
        executable: bool,
    },
    /// A file's content.
    Object {
        /// The object.
        id: ObjectId,
        /// True if it may be executed.
        executable: bool,
        /// Tells copies apart that must not be one file to a loader; 0 if that does not matter.
        copy: u32,
    },
    /// A node of some view, by its number.
    Node {
        /// The number.
        number: u64,
        /// True if a name led to it, false if the folder of views did.
        is_named: bool,
    },
    /// A name: a link to a view.
    Name {
        /// Number of the view's first node.
        number: u64,
        /// True for a distribution's name, false for an environment's.
        is_distribution: bool,
    },
}

impl Inode {
    /// Decodes a number; `None` if it is of no inode.
    pub fn decode(number: u64) -> Option<Self> {
        Some(match (number, number & 3) {
            (ROOT, _) => Self::Root,
            (ENVS, _) => Self::Envs,
            (DISTS, _) => Self::Dists,
            (EMPTY, _) => Self::Empty,
            (VIEWS, _) => Self::Views,
            (SHOWN, _) => Self::Shown,
            (0..4, _) => return None,
            (_, 3) => {
                let place = EMPTY_FILES.iter().position(|&one| one == number)?;
                Self::EmptyFile { executable: place == 1 }
            }
            (_, kind) => {
                let (id, variant) = (number << (64 - VARIANT) >> (66 - VARIANT), number >> VARIANT);
                let copy = u32::try_from(variant).ok().filter(|&copy| copy < COPIES)?;
                match (id, kind, copy) {
                    (0, ..) => return None,
                    (number, 2, 0 | 1) => Self::Node { number, is_named: copy == 1 },
                    (number, 2, 2 | 3) => Self::Name { number, is_distribution: copy == 3 },
                    (_, 2, _) => return None,
                    (id, kind, copy) => Self::Object { id, executable: kind == 1, copy },
                }
            }
        })
    }

    /// Number.
    pub fn encode(self) -> u64 {
        match self {
            Self::Root => ROOT,
            Self::Envs => ENVS,
            Self::Dists => DISTS,
            Self::Empty => EMPTY,
            Self::Views => VIEWS,
            Self::Shown => SHOWN,
            Self::EmptyFile { executable } => EMPTY_FILES[usize::from(executable)],
            Self::Object { id, executable, copy } => {
                u64::from(copy) << VARIANT | id << 2 | u64::from(executable)
            }
            Self::Node { number, is_named } => u64::from(is_named) << VARIANT | number << 2 | 2,
            Self::Name { number, is_distribution } => {
                (2 + u64::from(is_distribution)) << VARIANT | number << 2 | 2
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_meanings_are_one_to_one(
            number in prop_oneof![0..100_000_u64, any::<u64>()],
            id in 1..1_u64 << 38,
            copy in 0..COPIES,
            flag: bool,
        ) {
            if let Some(inode) = Inode::decode(number) {
                prop_assert_eq!(inode.encode(), number);
            }
            for inode in [
                Inode::Object { id, executable: flag, copy },
                Inode::Node { number: id, is_named: flag },
                Inode::Name { number: id, is_distribution: flag },
                Inode::EmptyFile { executable: flag },
            ] {
                prop_assert_eq!(Inode::decode(inode.encode()), Some(inode));
            }
        }
    }
}
