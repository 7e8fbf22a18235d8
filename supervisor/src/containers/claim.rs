//! A file that a machine has once, and the one instance that it belongs to.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another instance has it.
    #[error("{} belongs to another instance", .0.display())]
    Taken(PathBuf),
    /// The file system.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The right to a path, by a lock beside it. The file and its lock go when it is dropped.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: Flock<File>,
}

impl Claim {
    /// Takes the lock of `path`, whose folder is made where it is not there, and removes what an
    /// instance that was killed has left at it.
    pub fn take(path: &Path) -> Result<Self, ClaimError> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(at(folder))?;
        let lock_path = path.with_extension("lock");
        let lock = lock(path, &lock_path)?;
        let claim = Self { path: path.to_owned(), lock_path, _lock: lock };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
            _ => Ok(claim),
        }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for path in [&self.path, &self.lock_path] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "removing a file");
                }
                _ => {}
            }
        }
    }
}

fn lock(path: &Path, lock_path: &Path) -> Result<Flock<File>, ClaimError> {
    loop {
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(lock_path);
        let file = file.map_err(at(lock_path))?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Err(ClaimError::Taken(path.to_owned())),
            Err((_, error)) => return Err(at(lock_path)(error.into())),
        };
        // Its last owner may have removed the file between our opening and locking it.
        let held = lock.metadata().map_err(at(lock_path))?.ino();
        if fs::metadata(lock_path).is_ok_and(|now| now.ino() == held) {
            return Ok(lock);
        }
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> ClaimError + use<'_> {
    move |source| ClaimError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_one_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/some.sock");
        let claim = Claim::take(&path).unwrap();
        fs::write(claim.path(), "mine").unwrap();
        assert!(matches!(Claim::take(&path), Err(ClaimError::Taken(taken)) if taken == path));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        drop(claim);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        // What a killed instance leaves is in nobody's way.
        fs::write(&path, "stale").unwrap();
        fs::write(path.with_extension("lock"), "").unwrap();
        let _claim = Claim::take(&path).unwrap();
        assert!(!path.exists());
    }
}
