//! Room on the disk that is kept for a collection: it writes before it frees anything.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of the reserve: as many as the catalog's log and some indexes take.
const BYTES: i64 = 8 << 20;

/// A file that takes room until that is needed.
#[derive(Debug)]
pub struct Reserve(PathBuf);

impl Reserve {
    /// The one of a state folder. Where there is no room for it now, a collection makes some.
    pub fn of(state: &Path) -> Self {
        let reserve = Self(state.join("reserve"));
        reserve.take();
        reserve
    }

    /// Takes the room, if it can be had and is not taken yet.
    pub fn take(&self) {
        let taken = File::options().write(true).create(true).truncate(false).open(&self.0);
        let taken = taken.and_then(|file| {
            nix::fcntl::posix_fallocate(&file, 0, BYTES)?;
            Ok(())
        });
        if let Err(error) = taken {
            tracing::warn!(%error, path = %self.0.display(), "no room is kept for a collection");
            self.give();
        }
    }

    /// Frees it; whether there was any.
    pub fn give(&self) -> bool {
        match fs::remove_file(&self.0) {
            Ok(()) => true,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, path = %self.0.display(), "room cannot be freed");
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_given_and_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        let taken = || folder.path().join("reserve").metadata().map(|file| file.len()).ok();
        assert_eq!(taken(), Some(BYTES.cast_unsigned()));
        assert!(reserve.give() && !reserve.give());
        assert_eq!(taken(), None);
        reserve.take();
        assert_eq!(taken(), Some(BYTES.cast_unsigned()));
    }
}
