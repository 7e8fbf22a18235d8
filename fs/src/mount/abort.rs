//! Ending a connection by its number, whoever else has a copy of its descriptor.
//!
//! The kernel ends a connection by itself when the last copy of its descriptor is closed. A process in
//! the middle of a system call closes nothing, even when it was killed; so whoever knows that nobody
//! will serve a connection any more says so.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Folder in which a machine usually shows its connections.
const USUAL: &str = "/sys/fs/fuse/connections";
/// A folder that is always there, for a private mount.
const PRIVATE: &str = "/proc";

/// Ends the connection of the file system with the number `device` (`major:minor`), so that all who
/// wait for an answer get an error. One that has ended already is no error.
///
/// Only for a file system that is known to live: its number may be another's later.
pub fn abort(device: &str) -> io::Result<()> {
    let number = number(device)?;
    if Path::new(USUAL).join(&number).exists() {
        return say(Path::new(USUAL), &number);
    }
    // The mount is seen by this thread alone, and goes with it.
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            mount(Some("none"), PRIVATE, Some("fusectl"), MsFlags::empty(), none)?;
            say(Path::new(PRIVATE), &number)
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the aborting thread has panicked")))
    })
}

/// The name of a connection's folder: the kernel's own encoding of the device, in decimal.
fn number(device: &str) -> io::Result<String> {
    let parsed = device.split_once(':').and_then(|(major, minor)| {
        Some(major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?)
    });
    let odd = || io::Error::other(format!("{device:?} is no number of a file system"));
    parsed.map(|number| number.to_string()).ok_or_else(odd)
}

fn say(connections: &Path, number: &str) -> io::Result<()> {
    let path = connections.join(number).join("abort");
    let said = File::options().write(true).open(&path).and_then(|mut file| file.write_all(b"1"));
    match said {
        Err(error) if !path.exists() => {
            tracing::debug!(%error, number, "the connection has ended already");
            Ok(())
        }
        said => said.map_err(|error| {
            io::Error::new(error.kind(), format!("aborting by {}: {error}", path.display()))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_named_as_the_kernel_does() {
        assert_eq!(number("0:46").unwrap(), "46");
        assert_eq!(number("1:3").unwrap(), "1048579");
        for odd in ["", "46", "a:b", "0:", "0:-1"] {
            assert!(number(odd).is_err(), "{odd}");
        }
    }
}
