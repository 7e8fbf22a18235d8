//! Reading a wheel's zip file, whoever has made it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::sys::stat::SFlag;
use zip::ZipArchive;
use zip::read::Config;
use zip::unstable::read::ZipIterable;

use super::Flaw;

/// Most entries that an archive may have.
const MAX_ENTRIES: usize = 1 << 18;
/// Longest path, in bytes: half of what the kernel takes, because more stands before it.
const MAX_PATH: usize = 2048;
/// Longest name of a file or folder, in bytes, as file systems have it.
const MAX_NAME: usize = 255;
/// Bytes that are read at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes of the file that are kept: the zip reader asks for few at a time.
const WINDOW_BYTES: usize = 32 << 10;

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Place in the archive.
    index: usize,
    /// Path: relative, without empty parts, `.` and `..`.
    pub path: String,
    /// Size in bytes, as the archive says.
    pub size: u64,
    /// True if it may be executed.
    pub executable: bool,
}

/// An archive. A clone reads by itself.
#[derive(Debug, Clone)]
pub struct Archive {
    zip: ZipArchive<Window>,
}

impl Archive {
    /// Opens the zip file in `file`, and lists its files.
    ///
    /// Refused is what is there twice, is in the way of something else, leads elsewhere, is neither
    /// a file nor a folder, or shares bytes with others.
    pub fn open(file: Arc<File>) -> Result<(Self, Vec<Entry>), Flaw> {
        let window = Window::over(file)?;
        let mut zip = ZipArchive::new(window.clone())?;
        // The reader keeps the last of those that have one name.
        if zip.has_duplicate_names() {
            return Err(duplicate(&window));
        }
        if zip.len() > MAX_ENTRIES {
            let count = zip.len();
            return Err(Flaw::Metadata(format!("it has {count} files, more than {MAX_ENTRIES}")));
        }
        let mut entries = Vec::with_capacity(zip.len());
        let mut kinds = BTreeMap::new();
        for index in 0..zip.len() {
            let entry = zip.by_index_data(index)?;
            let raw = entry.name_raw();
            let name = std::str::from_utf8(raw)
                .map_err(|_| Flaw::of(&String::from_utf8_lossy(raw), "its name is not UTF-8"))?;
            let mode = entry.unix_mode().unwrap_or_default();
            let is_folder = name.ends_with('/');
            let path = name.strip_suffix('/').unwrap_or(name);
            if let Some(reason) = oddness(path) {
                return Err(Flaw::of(name, reason));
            }
            let usual = if is_folder { SFlag::S_IFDIR } else { SFlag::S_IFREG };
            let kind = mode & SFlag::S_IFMT.bits();
            if kind != 0 && kind != usual.bits() {
                return Err(Flaw::of(name, "it is neither a file nor a folder"));
            }
            if entry.encrypted() {
                return Err(Flaw::of(name, "it is encrypted"));
            }
            if kinds.insert(path.to_owned(), is_folder).is_some() {
                return Err(Flaw::of(name, TWICE));
            }
            if !is_folder {
                let (path, size) = (path.to_owned(), entry.size());
                entries.push(Entry { index, path, size, executable: mode & 0o111 != 0 });
            }
        }
        for path in kinds.keys() {
            if let Some(file) = folders(path).find(|folder| kinds.get(*folder) == Some(&false)) {
                return Err(Flaw::of(file, "it is a file, and a folder of others"));
            }
        }
        if zip.has_overlapping_files()? {
            let reason = "files in it share bytes, as in a zip bomb";
            return Err(Flaw::Metadata(reason.to_owned()));
        }
        Ok((Self { zip }, entries))
    }

    /// Reads a file of at most `most` bytes.
    pub fn read(&mut self, entry: &Entry, most: u64) -> Result<Vec<u8>, Flaw> {
        if entry.size > most {
            return Err(Flaw::of(&entry.path, format!("it is larger than {most} bytes")));
        }
        let mut content = Vec::new();
        self.copy(entry, &mut |part| {
            content.extend_from_slice(part);
            Ok(())
        })
        .map_err(|failed| failed.flaw(&entry.path))?;
        Ok(content)
    }

    /// Gives all of a file's content to `sink`, in parts. Never more than the size that the archive
    /// says; what has another size, or another checksum, is refused.
    pub fn copy(
        &mut self,
        entry: &Entry,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), CopyError> {
        let refused = |reason: String| CopyError::Flaw(Flaw::of(&entry.path, reason));
        let mut file =
            self.zip.by_index(entry.index).map_err(|error| refused(error.to_string()))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut left = entry.size;
        loop {
            let read = file.read(&mut buffer).map_err(|error| refused(error.to_string()))?;
            if read as u64 > left || read == 0 && left > 0 {
                return Err(refused("it has another size than the archive says".to_owned()));
            }
            if read == 0 {
                return Ok(());
            }
            left -= read as u64;
            sink(&buffer[..read]).map_err(CopyError::Sink)?;
        }
    }
}

/// Reason why a file was not copied.
#[derive(Debug)]
pub enum CopyError {
    /// A flaw of the entry.
    Flaw(Flaw),
    /// A failure of the place that it was to go to.
    Sink(io::Error),
}

impl CopyError {
    fn flaw(self, path: &str) -> Flaw {
        match self {
            Self::Flaw(flaw) => flaw,
            Self::Sink(error) => Flaw::of(path, error.to_string()),
        }
    }
}

/// Fault of a path that is there more than once.
pub const TWICE: &str = "it is there twice";

/// The name that is in an archive more than once.
fn duplicate(window: &Window) -> Flaw {
    let named = || {
        let mut listed = ZipIterable::try_new(window.clone(), Config::default()).ok()?;
        let names = listed.files().ok()?.filter_map(Result::ok);
        let mut known = BTreeSet::new();
        let mut names = names.map(|entry| entry.name_raw().to_vec());
        names.find(|name| !known.insert(name.clone()))
    };
    let name = named().unwrap_or_default();
    Flaw::of(&String::from_utf8_lossy(&name), TWICE)
}

/// The folders that a path is in.
pub fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

/// Fault of a path that no wheel may have.
pub fn oddness(path: &str) -> Option<&'static str> {
    if path.chars().any(char::is_control) {
        return Some("its name has control characters");
    }
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= MAX_NAME;
    if path.len() > MAX_PATH || !path.split('/').all(is_plain) {
        return Some("its path could lead elsewhere, or is too long");
    }
    None
}

/// A file, read from any place, with what was last read of it.
#[derive(Debug)]
struct Window {
    file: Arc<File>,
    length: u64,
    position: u64,
    kept: Vec<u8>,
    kept_from: u64,
}

impl Window {
    fn over(file: Arc<File>) -> Result<Self, Flaw> {
        let length = file.metadata().map_err(zip::result::ZipError::from)?.len();
        Ok(Self { file, length, position: 0, kept: Vec::new(), kept_from: 0 })
    }
}

impl Clone for Window {
    fn clone(&self) -> Self {
        let (file, length, position) = (self.file.clone(), self.length, self.position);
        Self { file, length, position, kept: Vec::new(), kept_from: 0 }
    }
}

impl Read for Window {
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        let kept = self.kept_from..self.kept_from + self.kept.len() as u64;
        if !kept.contains(&self.position) {
            if part.len() >= WINDOW_BYTES {
                let read = self.file.read_at(part, self.position)?;
                self.position += read as u64;
                return Ok(read);
            }
            self.kept.resize(WINDOW_BYTES, 0);
            let read = self.file.read_at(&mut self.kept, self.position)?;
            self.kept.truncate(read);
            self.kept_from = self.position;
        }
        let from = usize::try_from(self.position - self.kept_from).unwrap_or(usize::MAX);
        let there = self.kept.get(from..).unwrap_or_default();
        let length = there.len().min(part.len());
        part[..length].copy_from_slice(&there[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
