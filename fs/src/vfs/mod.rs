//! The file system's core: plain types in, plain types out, nothing of FUSE.

mod attributes;
pub mod counters;
mod entered;
mod ops;
mod world;

use std::io;

pub use attributes::{Attributes, FileKind, SHOWN_FOLDER};
pub use entered::Entered;
pub use ops::{DirectoryEntry, EMPTY_FOLDER, VIEWS_FOLDER, Vfs};

use crate::id::ObjectId;
use crate::store::StoreError;
use crate::view::index::IndexError;

/// Reason why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum VfsError {
    /// There is no such node.
    #[error("there is no node {0}")]
    NoNode(u64),
    /// The node is of another kind than the operation is for.
    #[error("node {0} is no {1}")]
    Kind(u64, &'static str),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The thread that reads ahead cannot be started.
    #[error("starting the thread that reads ahead: {0}")]
    Readahead(#[source] io::Error),
    /// A view's index is not there or is damaged.
    #[error("the index of view {0} cannot be read")]
    Unreadable(String),
    /// An object is quarantined.
    #[error("object {0} is damaged and quarantined")]
    Quarantined(ObjectId),
    /// The published names cannot be read.
    #[error("reading what is published: {0}")]
    Published(#[source] io::Error),
}
