//! Segments that fail on purpose, for tests.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::StoreError;
use super::segments::{Listed, SegmentSink, SegmentSource, Segments};
use crate::id::SegmentId;
use crate::sync::Mutex;

/// Segments whose changes fail from one of them on, as on a disk that is full, until they are mended.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Segments>,
    changes: Arc<Mutex<Changes>>,
}

/// The changes that are made before one fails.
#[derive(Debug, Default)]
struct Changes {
    /// Number of further changes; `None` if all of them are made.
    left: Option<u64>,
    has_failed: bool,
}

impl Changes {
    /// Makes a change; fails once none is left.
    fn make(&mut self) -> io::Result<()> {
        match &mut self.left {
            None => {}
            Some(0) => {
                self.has_failed = true;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Some(left) => *left -= 1,
        }
        Ok(())
    }
}

impl Faulty {
    /// Segments that do not fail yet.
    pub fn of(inner: Arc<dyn Segments>) -> Arc<Self> {
        Arc::new(Self { inner, changes: Arc::default() })
    }

    /// Fails every change after so many more.
    pub fn fail_after(&self, changes: u64) {
        self.changes.lock().left = Some(changes);
    }

    /// Fails no more; true if a change has failed.
    pub fn mend(&self) -> bool {
        std::mem::take(&mut *self.changes.lock()).has_failed
    }

    fn change(&self) -> io::Result<()> {
        self.changes.lock().make()
    }
}

impl Segments for Faulty {
    fn begin(&self, id: SegmentId) -> Result<Box<dyn SegmentSink>, StoreError> {
        self.change().map_err(StoreError::at(&self.path(id)))?;
        let (inner, changes) = (self.inner.begin(id)?, self.changes.clone());
        Ok(Box::new(FaultySink { inner, changes, path: self.path(id) }))
    }

    fn open(&self, id: SegmentId) -> Result<Box<dyn SegmentSource>, StoreError> {
        self.inner.open(id)
    }

    fn length(&self, id: SegmentId) -> Option<u64> {
        self.inner.length(id)
    }

    fn remove(&self, ids: &[SegmentId]) -> Result<(), StoreError> {
        self.change().map_err(StoreError::at(&self.root()))?;
        self.inner.remove(ids)
    }

    fn clear(&self, known: &HashSet<SegmentId>) -> Result<(), StoreError> {
        self.inner.clear(known)
    }

    fn list(&self) -> Result<Vec<Listed>, StoreError> {
        self.inner.list()
    }

    fn path(&self, id: SegmentId) -> PathBuf {
        self.inner.path(id)
    }

    fn root(&self) -> PathBuf {
        self.inner.root()
    }
}

/// A segment that is being written, and may fail.
#[derive(Debug)]
struct FaultySink {
    inner: Box<dyn SegmentSink>,
    changes: Arc<Mutex<Changes>>,
    path: PathBuf,
}

impl Write for FaultySink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.changes.lock().make()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl SegmentSink for FaultySink {
    fn seal(self: Box<Self>) -> Result<u64, StoreError> {
        self.changes.lock().make().map_err(StoreError::at(&self.path))?;
        self.inner.seal()
    }
}
