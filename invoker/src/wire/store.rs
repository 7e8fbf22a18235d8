//! The care of the store: requests and answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A request of `pipsqueak store`. Its name is the verb of the command line that sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreRequest {
    /// Tell the content of the store and its cost; answered by [`super::Reply::Usage`].
    Du,
    /// Reclaim content that is out of reach; answered by [`super::Reply::Collected`].
    Gc {
        /// True if the collection only says what it would do.
        dry_run: bool,
        /// Time that something must have been out of reach, in milliseconds; the supervisor's setting if
        /// absent.
        grace_ms: Option<u64>,
    },
    /// Compare catalog, segments and views; answered by [`super::Reply::Checked`].
    Fsck,
    /// Compare as with `Fsck`, and compare the content with the archives that are still here; answered by
    /// [`super::Reply::Checked`].
    FsckArchives,
    /// Read and check everything; answered by [`super::Reply::Checked`].
    Scrub {
        /// Most bytes to read per second; no bound if absent.
        rate: Option<u64>,
    },
    /// Get again what is damaged; answered by [`super::Reply::Repaired`].
    Repair,
    /// Keep an environment or distribution, even if it is not published any more; answered by
    /// [`super::Reply::Done`].
    Pin {
        /// An environment, or a distribution as the mount names it.
        name: String,
    },
    /// Keep a pinned thing no longer; answered by [`super::Reply::Done`].
    Unpin {
        /// The name that was pinned.
        name: String,
    },
}

/// Content of the store and its cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Environments, by name.
    pub environments: Vec<Cost>,
    /// Distributions, by their names in the mount.
    pub distributions: Vec<Cost>,
    /// Names of pinned things.
    pub pins: Vec<String>,
    /// Leases beyond sandboxes and mounts.
    pub leases: Vec<LeaseInfo>,
    /// Content of all files of all environments, in bytes, each as often as it is there.
    pub content: u64,
    /// Content of all objects, in bytes, each once.
    pub objects: u64,
    /// Segments and indexes on disk, in bytes.
    pub on_disk: u64,
    /// Bytes on disk that nothing published, pinned or leased needs.
    pub dead: u64,
}

/// Cost of an environment or a distribution, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The name of the environment or distribution.
    pub name: String,
    /// Content of the files.
    pub content: u64,
    /// Bytes on disk that would be free if the thing went.
    pub alone: u64,
    /// Bytes on disk that others need too.
    pub shared: u64,
}

/// A lease that outlives the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// The holder.
    pub holder: String,
    /// Digest of the view that is held.
    pub view: String,
}

/// Outcome of a collection, done or only planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// True if nothing was done: the outcome is a plan.
    pub dry_run: bool,
    /// Environments of functions that are gone, by name.
    pub environments: Vec<String>,
    /// Distributions, by their names in the mount.
    pub distributions: Vec<String>,
    /// Views.
    pub views: u64,
    /// Objects.
    pub objects: u64,
    /// Segments that were removed whole.
    pub segments_removed: u64,
    /// Segments whose needed rest was written anew.
    pub segments_rewritten: u64,
    /// Archives of downloads that were removed.
    #[serde(default)]
    pub archives: u64,
    /// Bytes on disk that became free.
    pub bytes: u64,
    /// Distributions and views that are out of reach, and not for long enough to go.
    pub waiting: u64,
}

/// Outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Faults; none if the store is sound.
    pub findings: Vec<Finding>,
    /// Bytes that were read and compared.
    pub bytes: u64,
}

/// A fault of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The fault.
    pub what: String,
    /// The remedy.
    pub advice: String,
}

/// Outcome of a repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// Distributions that were installed again.
    pub distributions: Vec<String>,
    /// Objects that are whole again.
    pub objects: u64,
    /// Indexes that were written anew.
    pub indexes: u64,
    /// Faults that are left.
    pub findings: Vec<Finding>,
}
