//! The folder of downloads, which instances may share. Whoever has uv write to it holds it; what uv
//! leaves half unpacked where it is killed is removed by whoever can hold it alone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The folder of archives.
pub const ARCHIVES: &str = "archives";
/// Beginning of the names of archives that are not whole.
pub const HALF: &str = ".new-";

/// A folder of downloads.
#[derive(Debug)]
pub struct Downloads {
    folder: PathBuf,
    /// Folder of archives: see [`crate::ingest::archive::cache`].
    archives: PathBuf,
    lock: PathBuf,
}

/// Says that uv may be writing, until it is dropped.
#[derive(Debug)]
pub struct Downloading(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

impl Downloads {
    /// uv's folder in `cache`, made where it is not there.
    pub fn open(cache: &Path) -> io::Result<Self> {
        let folder = cache.join("uv");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, archives: cache.join(ARCHIVES), lock: cache.join("lock") })
    }

    /// uv's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps others from clearing. Blocks as long as one is at it.
    pub fn hold(&self) -> io::Result<Downloading> {
        Ok(Downloading(self.lock(FlockArg::LockShared)?))
    }

    /// Removes what a uv that was killed has half unpacked, and what was half copied, unless another may
    /// be at work.
    pub fn clear_unpacked(&self) {
        let Ok(_alone) = self.lock(FlockArg::LockExclusiveNonblock) else { return };
        for (folder, half) in [(&self.folder, ".tmp"), (&self.archives, HALF)] {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            for entry in entries {
                let path = entry.path();
                let is_half = entry.file_name().to_string_lossy().starts_with(half);
                if is_half && fs::remove_file(&path).is_err() {
                    let _ = fs::remove_dir_all(&path);
                }
            }
        }
    }

    fn lock(&self, how: FlockArg) -> io::Result<Flock<File>> {
        let mut file = File::options().create(true).append(true).open(&self.lock)?;
        loop {
            match Flock::lock(file, how) {
                Ok(lock) => return Ok(lock),
                Err((unlocked, Errno::EINTR)) => file = unlocked,
                Err((_, error)) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_unpacked_goes_when_nobody_downloads() {
        let cache = tempfile::tempdir().unwrap();
        let downloads = Downloads::open(cache.path()).unwrap();
        let half = downloads.folder().join(".tmpX");
        let whole = downloads.folder().join("wheels");
        for folder in [&half, &whole, &downloads.archives] {
            fs::create_dir(folder).unwrap();
        }
        let copied = [".new-x", "sha256-x"].map(|name| downloads.archives.join(name));
        for file in &copied {
            fs::write(file, "").unwrap();
        }
        // As another process would, through an opening of its own.
        let other = Downloads::open(cache.path()).unwrap();
        let downloading = other.hold().unwrap();
        downloads.clear_unpacked();
        assert!(half.exists() && copied[0].exists());
        drop(downloading);
        downloads.clear_unpacked();
        assert!(!half.exists() && whole.exists());
        assert!(!copied[0].exists() && copied[1].exists());
    }
}
