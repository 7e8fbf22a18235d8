//! Wheels that were built here.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// Wheels that were built here for one interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Folder of the wheels, each in a folder named by the digest of its source.
    pub folder: PathBuf,
    /// Digests of the sources that what is wanted has led to. No other wheel is seen.
    pub digests: BTreeSet<String>,
}

impl Built {
    /// The folders of the wheels that are seen, each with its source's digest.
    pub fn folders(&self) -> impl Iterator<Item = (PathBuf, &str)> {
        let all = self.digests.iter().map(|digest| (self.folder.join(digest), digest.as_str()));
        // Whoever has cleared the downloads has cleared them, too.
        all.filter(|(folder, _)| folder.is_dir())
    }
}
