//! Which names the mount shows: a small file that the supervisor replaces and the mount rereads.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::replace;

/// The names in the mount's folders, and the view behind each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Raised by every change: the folders' modification time in seconds after the mount's epoch,
    /// so that interpreters which have listed them notice.
    pub generation: u64,
    /// Name of each environment, digest of its view.
    pub envs: BTreeMap<String, String>,
    /// `NAME-VERSION-DIGEST` of each distribution, digest of its view.
    pub dists: BTreeMap<String, String>,
}

impl Published {
    /// Reads what was published last; nothing where nothing was yet.
    pub fn read(views: &Path) -> io::Result<Self> {
        match std::fs::read(path(views)) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Publishes it.
    pub fn write(&self, views: &Path) -> io::Result<()> {
        replace(&path(views), &serde_json::to_vec(self)?)
    }
}

fn path(views: &Path) -> PathBuf {
    views.join("published.json")
}

/// Where the index of a view is.
pub fn index_path(views: &Path, digest: &str) -> PathBuf {
    views.join(format!("{digest}.index"))
}
