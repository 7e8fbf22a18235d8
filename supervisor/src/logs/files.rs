//! Files that are written one after the other. The oldest are removed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Files that share a log's bound. Removing the oldest loses this part of the log at once.
const PARTS: u64 = 4;

/// The files of one log.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    bound: u64,
    current: Option<Current>,
    /// Bytes that could not be written since the last write that succeeded.
    lost: u64,
}

/// The file that is written to.
#[derive(Debug)]
struct Current {
    number: u64,
    /// Open only while lines are appended: there is a log for each function, and there are fewer descriptors.
    file: Option<File>,
    bytes: u64,
    /// True if the last line may not be whole.
    is_torn: bool,
}

/// A file that was found in the folder.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) bytes: u64,
}

/// Files in a folder, the oldest first; none if the folder cannot be read.
pub(super) fn list(folder: &Path) -> Vec<Found> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_suffix(".jsonl")?.parse().ok()?;
            Some(Found { number, bytes: entry.metadata().ok()?.len() })
        })
        .collect();
    found.sort();
    found
}

/// Path of a file.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number}.jsonl"))
}

impl Files {
    /// A log of at most `bound` bytes. No file is opened before the first write.
    pub(super) fn new(folder: PathBuf, bound: u64) -> Self {
        Self { folder, bound, current: None, lost: 0 }
    }

    /// Appends lines, each of which has its line end. Bytes that cannot be written are counted; before
    /// the next lines that can be written, the text of `notice` tells their number.
    pub(super) fn append(
        &mut self,
        lines: &[Vec<u8>],
        notice: impl FnOnce(u64) -> Vec<u8>,
    ) -> io::Result<()> {
        let mut left = lines.iter().map(|line| line.len() as u64).sum();
        let appended = match self.lost {
            0 => Ok(()),
            lost => self.append_counted(&[notice(lost)], &mut 0),
        };
        let appended = appended.and_then(|()| {
            self.lost = 0;
            self.append_counted(lines, &mut left)
        });
        if let Some(current) = &mut self.current {
            current.file = None;
        }
        if appended.is_err() {
            self.lost += left;
            // The file may be gone or unusable, so the next write opens it again.
            self.current = None;
        }
        appended
    }

    /// True if bytes are lost that no notice has told yet.
    pub(super) fn has_lost(&self) -> bool {
        self.lost > 0
    }

    fn append_counted(&mut self, lines: &[Vec<u8>], left: &mut u64) -> io::Result<()> {
        let mut text = Vec::new();
        let mut room = 0;
        for line in lines {
            if (text.len() + line.len()) as u64 > room {
                self.write(&text)?;
                *left = left.saturating_sub(text.len() as u64);
                text.clear();
                room = self.room(line.len() as u64)?;
            }
            text.extend_from_slice(line);
        }
        self.write(&text)?;
        *left = left.saturating_sub(text.len() as u64);
        Ok(())
    }

    /// Makes a file ready that has room for `wanted` more bytes, if any file has; returns the room in bytes.
    fn room(&mut self, wanted: u64) -> io::Result<u64> {
        let part = self.bound / PARTS;
        let current = match self.current.take() {
            Some(current) => current,
            None => self.open(None)?,
        };
        let current = if current.bytes > 0 && current.bytes + wanted > part {
            self.open(Some(current.number + 1))?
        } else {
            current
        };
        let room = part.saturating_sub(current.bytes);
        self.current = Some(current);
        Ok(room)
    }

    fn open(&self, new: Option<u64>) -> io::Result<Current> {
        fs::create_dir_all(&self.folder)?;
        let found = list(&self.folder);
        let number = new.or(found.last().map(|last| last.number)).unwrap_or(1);
        if new.is_some() {
            self.make_room(&found)?;
        }
        let file = self.open_file(number)?;
        let bytes = file.metadata()?.len();
        // The last line may be torn, if a supervisor was killed while it wrote.
        Ok(Current { number, file: Some(file), bytes, is_torn: bytes > 0 })
    }

    fn open_file(&self, number: u64) -> io::Result<File> {
        File::options().append(true).create(true).open(path(&self.folder, number))
    }

    /// Removes the oldest files until a new one is within the bound.
    fn make_room(&self, found: &[Found]) -> io::Result<()> {
        let mut bytes: u64 = found.iter().map(|file| file.bytes).sum();
        for file in found {
            if bytes + self.bound / PARTS <= self.bound {
                break;
            }
            fs::remove_file(path(&self.folder, file.number))?;
            bytes -= file.bytes;
        }
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let mut file = match current.file.take() {
            Some(file) => file,
            None => self.open_file(current.number)?,
        };
        if std::mem::take(&mut current.is_torn) {
            // Ends a torn line. If none was torn, this makes an empty line, which readers skip.
            file.write_all(b"\n")?;
            current.bytes += 1;
        }
        file.write_all(text)?;
        current.bytes += text.len() as u64;
        current.file = Some(file);
        self.current = Some(current);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize, of: usize) -> Vec<Vec<u8>> {
        (0..count).map(|n| format!("{n:0of$}\n").into_bytes()).collect()
    }

    fn silent(_: u64) -> Vec<u8> {
        Vec::new()
    }

    #[test]
    fn the_oldest_go_and_the_newest_stay_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::new(folder.path().join("f"), 4000);
        for line in lines(1000, 99) {
            files.append(&[line], silent).unwrap();
            let found = list(&folder.path().join("f"));
            assert!(found.iter().map(|file| file.bytes).sum::<u64>() <= 4000, "{found:?}");
        }
        let found = list(&folder.path().join("f"));
        assert_eq!(found.len(), 4);
        let last = fs::read_to_string(path(&folder.path().join("f"), found[3].number)).unwrap();
        assert!(last.ends_with("999\n"));
        // Many lines in one call, and lines that are too long for a file.
        files.append(&lines(1000, 99), silent).unwrap();
        files.append(&lines(3, 3000), silent).unwrap();
        let found = list(&folder.path().join("f"));
        assert!(found.len() <= 4, "{found:?}");
    }

    #[test]
    fn a_torn_line_is_ended_by_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path(), 7), "whole\ntor").unwrap();
        let mut files = Files::new(folder.path().into(), 4000);
        files.append(&lines(1, 3), silent).unwrap();
        assert_eq!(fs::read_to_string(path(folder.path(), 7)).unwrap(), "whole\ntor\n000\n");
    }

    #[test]
    fn what_could_not_be_written_is_told_once_something_can() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("f");
        fs::write(&place, "in the way of a folder").unwrap();
        let mut files = Files::new(place.clone(), 4000);
        let notice = |lost: u64| format!("{lost} lost\n").into_bytes();
        for _ in 0..3 {
            assert!(files.append(&lines(2, 9), notice).is_err());
        }
        assert!(files.has_lost());
        fs::remove_file(&place).unwrap();
        files.append(&lines(1, 2), notice).unwrap();
        files.append(&lines(1, 2), notice).unwrap();
        assert_eq!(fs::read_to_string(path(&place, 1)).unwrap(), "60 lost\n00\n00\n");
    }
}
