//! The file systems through which an instance's views have been seen since the machine started.
//!
//! A mapping names the file system of its file by a number alone, and that may be of a mount which is
//! in no list any more: of an overlay that was exchanged, of an earlier supervisor. So the numbers are
//! written down before anybody can see a file through them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::machine::files::at;
use crate::sync::{Mutex, lock};

/// Tells one start of the machine from another: numbers mean nothing in the next.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A file with a line for each: the start of the machine, and the number.
#[derive(Debug)]
pub struct Devices {
    path: PathBuf,
    boot: String,
    known: Mutex<BTreeSet<u64>>,
}

impl Devices {
    /// Reads the devices that earlier supervisors have written into a state folder.
    pub fn open(state: &Path) -> io::Result<Self> {
        let boot = fs::read_to_string(BOOT)?.trim().to_owned();
        Self::of_boot(state, boot)
    }

    fn of_boot(state: &Path, boot: String) -> io::Result<Self> {
        let path = state.join("devices");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(at(&path)(error)),
        };
        let text = String::from_utf8_lossy(&text);
        let known: BTreeSet<u64> = text.lines().filter_map(|line| number(line, &boot)).collect();
        if known.is_empty() && !text.is_empty() {
            fs::remove_file(&path).map_err(at(&path))?;
        }
        Ok(Self { path, boot, known: Mutex::new(known) })
    }

    /// Writes one down, unless it is there.
    pub fn note(&self, device: u64) -> io::Result<()> {
        let mut known = lock(&self.known);
        if known.contains(&device) {
            return Ok(());
        }
        // One write is whole or, where the disk is full, a line that says nothing.
        let line = format!("\n{} {device}\n", self.boot);
        let opened = File::options().append(true).create(true).open(&self.path);
        opened.and_then(|mut file| file.write_all(line.as_bytes())).map_err(at(&self.path))?;
        known.insert(device);
        Ok(())
    }

    /// All of them.
    pub fn all(&self) -> BTreeSet<u64> {
        lock(&self.known).clone()
    }
}

/// The number in a line, if it is of this start of the machine.
fn number(line: &str, boot: &str) -> Option<u64> {
    let (of, number) = line.split_once(' ')?;
    (of == boot).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_known_until_the_machine_starts_again() {
        let state = tempfile::tempdir().unwrap();
        let open = |boot: &str| Devices::of_boot(state.path(), boot.to_owned()).unwrap();
        let devices = open("a");
        for device in [7, 9, 7] {
            devices.note(device).unwrap();
        }
        // The disk was full.
        File::options()
            .append(true)
            .open(state.path().join("devices"))
            .unwrap()
            .write_all(b"\na 1")
            .unwrap();
        let next = open("a");
        next.note(12).unwrap();
        assert_eq!(open("a").all().into_iter().collect::<Vec<_>>(), [1, 7, 9, 12]);
        assert_eq!(open("b").all(), BTreeSet::new());
        assert_eq!(open("a").all(), BTreeSet::new());
    }
}
