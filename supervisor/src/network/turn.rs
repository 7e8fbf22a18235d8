//! One instance at a time changes what all of them share of the machine's network.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use nix::fcntl::{Flock, FlockArg};

/// Path of the lock, which root alone can open: a process that can open it can make others wait.
const PATH: &str = "/run/pipsqueak-network.lock";

/// The turn of an instance, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _lock: Flock<File>,
}

impl Turn {
    /// Waits for it. Blocks.
    pub fn take() -> io::Result<Self> {
        loop {
            let mut options = File::options();
            let file = options.write(true).create(true).truncate(false).mode(0o600).open(PATH)?;
            let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
            // The one before has removed the file while this one waited for its lock.
            let is_there = fs::metadata(PATH)
                .is_ok_and(|there| lock.metadata().is_ok_and(|locked| locked.ino() == there.ino()));
            if is_there {
                return Ok(Self { _lock: lock });
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(PATH) {
            tracing::warn!(path = PATH, %error, "removing a lock");
        }
    }
}
