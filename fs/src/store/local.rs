//! Segments in a folder of this machine.
//!
//! ```text
//! STATE/segments/N.segment    sealed: never changed again
//! STATE/segments/N.new        being written; removed at the next start if it is still there
//! ```

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::StoreError;
use super::segments::{Advice, Listed, SegmentSink, SegmentSource, Segments};
use crate::durable::{self, crash};
use crate::id::SegmentId;

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The segments in a folder.
#[derive(Debug, Clone)]
pub struct Local {
    folder: PathBuf,
}

impl Local {
    /// The segments of a state folder.
    pub fn of(state: &Path) -> Arc<Self> {
        Arc::new(Self { folder: state.join("segments") })
    }

    /// Makes the folder, unless it is there.
    pub fn create(&self) -> Result<(), StoreError> {
        fs::create_dir_all(&self.folder).map_err(StoreError::at(&self.folder))
    }

    fn entries(&self) -> Result<Vec<PathBuf>, StoreError> {
        let at = StoreError::at(&self.folder);
        let entries = fs::read_dir(&self.folder).map_err(&at)?;
        entries.map(|entry| Ok(entry.map_err(&at)?.path())).collect()
    }
}

impl Segments for Local {
    fn begin(&self, id: SegmentId) -> Result<Box<dyn SegmentSink>, StoreError> {
        let (path, sealed) = (self.folder.join(format!("{id}.new")), self.path(id));
        let file = File::create(&path).map_err(StoreError::at(&path))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Box::new(NewFile { path, sealed, file, is_sealed: false }))
    }

    fn open(&self, id: SegmentId) -> Result<Box<dyn SegmentSource>, StoreError> {
        let path = self.path(id);
        Ok(Box::new(File::open(&path).map_err(StoreError::at(&path))?))
    }

    fn length(&self, id: SegmentId) -> Option<u64> {
        Some(self.path(id).metadata().ok()?.len())
    }

    fn remove(&self, ids: &[SegmentId]) -> Result<(), StoreError> {
        for id in ids {
            let path = self.path(*id);
            durable::remove(&path).map_err(StoreError::at(&path))?;
        }
        durable::sync(&self.folder).map_err(StoreError::at(&self.folder))
    }

    fn clear(&self, known: &HashSet<SegmentId>) -> Result<(), StoreError> {
        let is_left = |path: &Path| match path.extension().and_then(|extension| extension.to_str())
        {
            Some("segment") => !number_of(path).is_some_and(|id| known.contains(&id)),
            extension => extension == Some("new"),
        };
        for path in self.entries()?.iter().filter(|path| is_left(path)) {
            fs::remove_file(path).map_err(StoreError::at(path))?;
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let listed = self.entries()?.into_iter().map(|path| {
            let segment = number_of(&path).filter(|id| self.path(*id) == path);
            let bytes = path.metadata().map_or(0, |metadata| metadata.len());
            Listed { path, segment, bytes }
        });
        Ok(listed.collect())
    }

    fn path(&self, id: SegmentId) -> PathBuf {
        self.folder.join(format!("{id}.segment"))
    }

    fn root(&self) -> PathBuf {
        self.folder.clone()
    }
}

/// The number that a file's name begins with.
fn number_of(path: &Path) -> Option<SegmentId> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// The file of a segment that is being written.
#[derive(Debug)]
struct NewFile {
    path: PathBuf,
    sealed: PathBuf,
    file: BufWriter<File>,
    is_sealed: bool,
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl SegmentSink for NewFile {
    fn seal(mut self: Box<Self>) -> Result<u64, StoreError> {
        let at = StoreError::at(&self.path);
        self.file.flush().map_err(&at)?;
        self.file.get_ref().sync_all().map_err(&at)?;
        let length = self.file.get_ref().metadata().map_err(&at)?.len();
        crash::point();
        fs::rename(&self.path, &self.sealed).map_err(&at)?;
        drop(at);
        let folder = self.sealed.parent().unwrap_or(&self.sealed);
        durable::sync(folder).map_err(StoreError::at(folder))?;
        self.is_sealed = true;
        crash::point();
        Ok(length)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_sealed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl SegmentSource for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, part: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, part, offset)
    }

    fn advise(&self, offset: u64, bytes: u64, advice: Advice) {
        let advice = match advice {
            Advice::WillRead => PosixFadviseAdvice::POSIX_FADV_WILLNEED,
            Advice::HasRead => PosixFadviseAdvice::POSIX_FADV_DONTNEED,
        };
        let _ = posix_fadvise(self, offset.cast_signed(), bytes.cast_signed(), advice);
    }
}
