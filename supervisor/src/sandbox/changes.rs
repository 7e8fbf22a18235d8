//! Changes of the host's system, after which what sandboxes see of it is brought up to date.
//!
//! Sandboxes see it through overlays, which remember what they have found, and as copies. So it is looked now and then
//! when packages were installed last, by their databases, and when folders were changed, for all else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::maker_process::Maker;
use super::places::SYSTEM;
use crate::sync::{Mutex, lock};

/// Time between two looks.
const PACE: Duration = Duration::from_secs(5);
/// Depth to which folders of the system are looked at. What is installed below changes a database as well.
const DEPTH: u32 = 2;

/// Files that the installing of packages changes, besides the system's folders.
const INSTALLED: [&str; 10] = [
    "/etc",
    "/etc/alternatives",
    "/etc/fonts/conf.d",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/pki/ca-trust/extracted/pem",
    "/etc/ssl/certs",
    "/lib/apk/db/installed",
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
];

/// Time of the last change of each, to the nanosecond, and its inode.
type Stamps = BTreeMap<PathBuf, (i64, i64, u64)>;

/// Folders that are looked at besides the system: those of interpreters that sandboxes see.
#[derive(Debug, Default)]
pub struct Watched(Mutex<BTreeSet<PathBuf>>);

impl Watched {
    /// Has folders looked at from now on.
    pub fn note<'a>(&self, folders: impl Iterator<Item = &'a PathBuf>) {
        let mut watched = lock(&self.0);
        for folder in folders {
            if !watched.contains(folder) {
                watched.insert(folder.clone());
            }
        }
    }

    /// Has the maker bring up to date what sandboxes see, whenever the host's system changes, until `stopped` closes.
    pub fn follow(&self, maker: &Maker, stopped: &Receiver<()>) {
        let mut seen = self.stamps();
        while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
            let now = self.stamps();
            // What is looked at for the first time has not changed.
            if seen.iter().all(|(path, stamp)| now.get(path) == Some(stamp)) {
                seen = now;
                continue;
            }
            match maker.refresh() {
                Ok(()) => {
                    tracing::info!("the system has changed: sandboxes see it as it is now");
                    seen = now;
                }
                Err(error) => tracing::warn!(%error, "sandboxes see the system as it was"),
            }
        }
    }

    fn stamps(&self) -> Stamps {
        let mut all = Stamps::new();
        for path in INSTALLED {
            note(Path::new(path), &mut all);
        }
        let system = SYSTEM.map(|name| Path::new("/").join(name));
        let watched = lock(&self.0).clone();
        for folder in system.into_iter().chain(watched) {
            if fs::symlink_metadata(&folder).is_ok_and(|metadata| metadata.is_dir()) {
                note_folder(&folder, DEPTH, &mut all);
            }
        }
        all
    }
}

fn note(path: &Path, all: &mut Stamps) {
    if let Ok(found) = fs::metadata(path) {
        all.insert(path.to_owned(), (found.mtime(), found.mtime_nsec(), found.ino()));
    }
}

fn note_folder(folder: &Path, depth: u32, all: &mut Stamps) {
    note(folder, all);
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            note_folder(&entry.path(), depth - 1, all);
        }
    }
}
