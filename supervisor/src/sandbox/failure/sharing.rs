//! Why what sandboxes share of the system could not be made, entered or brought up to date.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Cause;

/// Why what sandboxes share of the system could not be made, entered or brought up to date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ShareError {
    /// The order came without the host's mount namespace.
    #[error("the order came without the host's mount namespace")]
    NoHost,
    /// open(2) of this process's mount namespace.
    #[error("opening a mount namespace: {0}")]
    Open(#[source] Cause),
    /// setns(2).
    #[error("joining a mount namespace: {0}")]
    Join(#[source] Cause),
    /// unshare(2).
    #[error("making a mount namespace: {0}")]
    Unshare(#[source] Cause),
    /// The host's `/etc`.
    #[error("reading the host's /etc: {0}")]
    HostEtc(#[source] Cause),
    /// The copies of the host's `/etc`.
    #[error("bringing the copies of /etc up to date: {0}")]
    Etc(#[source] Cause),
    /// Reading the folder of shared folders.
    #[error("listing what is shared: {0}")]
    List(#[source] Cause),
    /// fstat(2) of a folder that is to be shared.
    #[error("looking at a folder that is to be shared: {0}")]
    Stat(#[source] Cause),
    /// flock(2).
    #[error("waiting for others that share a folder: {0}")]
    Lock(#[source] Cause),
    /// mkdir(2).
    #[error("making {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// statfs(2).
    #[error("looking at the file system of {}: {source}", path.display())]
    Look {
        /// The place.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// `move_mount(2)` of a folder that an overlay is to be of.
    #[error("attaching what the overlay at {} is of: {source}", path.display())]
    AttachBelow {
        /// The overlay's place.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// fsopen(2) and what belongs to it.
    #[error("making the overlay at {}: {source}", path.display())]
    Overlay {
        /// The overlay's place.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// `move_mount(2)`.
    #[error("attaching what is shown at {}: {source}", path.display())]
    Attach {
        /// The place.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// umount2(2).
    #[error("unmounting {}: {source}", path.display())]
    Unmount {
        /// The place.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// `open_tree(2)`.
    #[error("copying the overlay at {}: {source}", path.display())]
    Copy {
        /// The overlay's place.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// Having an overlay forget what it has found.
    #[error("refreshing the overlay at {}: {source}", path.display())]
    Refresh {
        /// The overlay's place.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
}
