//! The care of the store: what can be asked, and the answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A request of `pipsqueak store`. Its name is the verb of the command line that sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreRequest {
    /// What is stored and what it costs; answered by [`super::Reply::Usage`].
    Du,
    /// Reclaim what nobody reaches; answered by [`super::Reply::Collected`].
    Gc {
        /// Only say what would be done.
        dry_run: bool,
        /// How long something must have been out of reach, in milliseconds; the supervisor's
        /// setting where absent.
        grace_ms: Option<u64>,
    },
    /// Compare catalog, segments and views; answered by [`super::Reply::Checked`].
    Fsck,
    /// The same, and what is stored with the archives that are still here; answered by
    /// [`super::Reply::Checked`].
    FsckArchives,
    /// Read and check everything; answered by [`super::Reply::Checked`].
    Scrub {
        /// Most bytes to read per second; no bound where absent.
        rate: Option<u64>,
    },
    /// Get again what is damaged; answered by [`super::Reply::Repaired`].
    Repair,
    /// Keep an environment or distribution, whether it is published or not; answered by
    /// [`super::Reply::Done`].
    Pin {
        /// An environment, or a distribution as the mount names it.
        name: String,
    },
    /// Keep it no longer; answered by [`super::Reply::Done`].
    Unpin {
        /// As it was pinned.
        name: String,
    },
}

/// What is stored and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Environments, by name.
    pub environments: Vec<Cost>,
    /// Distributions, by what the mount calls them.
    pub distributions: Vec<Cost>,
    /// What is pinned.
    pub pins: Vec<String>,
    /// Who leases what, beyond sandboxes and mounts.
    pub leases: Vec<LeaseInfo>,
    /// Content of all files of all environments, in bytes, each as often as it is there.
    pub content: u64,
    /// Content of all objects, in bytes, each once.
    pub objects: u64,
    /// Segments and indexes on disk, in bytes.
    pub on_disk: u64,
    /// Of these, bytes that nothing published, pinned or leased needs.
    pub dead: u64,
}

/// What an environment or a distribution costs, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Its name.
    pub name: String,
    /// Content of its files.
    pub content: u64,
    /// On disk, what it alone needs: what would be free if it went.
    pub alone: u64,
    /// On disk, what others need too.
    pub shared: u64,
}

/// A lease that outlives the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// Who holds it.
    pub holder: String,
    /// Digest of the view that is held.
    pub view: String,
}

/// What a collection has done, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Whether it only says what would be done.
    pub dry_run: bool,
    /// Environments of functions that are gone, by name.
    pub environments: Vec<String>,
    /// Distributions, by what the mount called them.
    pub distributions: Vec<String>,
    /// Views.
    pub views: u64,
    /// Objects.
    pub objects: u64,
    /// Segments that were removed whole.
    pub segments_removed: u64,
    /// Segments whose living rest was written anew.
    pub segments_rewritten: u64,
    /// Archives of downloads that were removed.
    #[serde(default)]
    pub archives: u64,
    /// Bytes on disk that became free.
    pub bytes: u64,
    /// Distributions and views that are out of reach, and not for long enough to go.
    pub waiting: u64,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// What is wrong; nothing where the store is sound.
    pub findings: Vec<Finding>,
    /// Bytes that were read and compared.
    pub bytes: u64,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// What was repaired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// Distributions that were installed again.
    pub distributions: Vec<String>,
    /// Objects that are whole again.
    pub objects: u64,
    /// Indexes that were written anew.
    pub indexes: u64,
    /// What is still wrong.
    pub findings: Vec<Finding>,
}
