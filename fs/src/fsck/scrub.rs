//! Reading everything, at a bounded rate.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::{Finding, REPAIR};
use crate::id::{ObjectId, SegmentId};
use crate::ingest::{Step, Unit};
use crate::repository::{Mounted, Repository, RepositoryError};
use crate::store::segment_path;
use crate::store::verify::read_segment;
use crate::view::index::Index;
use crate::view::published::index_path;

/// Keeps a rate.
#[derive(Debug)]
struct Pace {
    rate: Option<u64>,
    began: Instant,
    bytes: u64,
}

impl Pace {
    fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
        let Some(rate) = self.rate.filter(|rate| *rate > 0) else { return };
        #[expect(clippy::cast_precision_loss, reason = "a pause need not be exact")]
        let due = Duration::from_secs_f64(self.bytes as f64 / rate as f64);
        thread::sleep(due.saturating_sub(self.began.elapsed()));
    }
}

impl Repository {
    /// Reads and checks all that segments and indexes hold at no more than `rate` bytes per second; what is
    /// wrong, and how many bytes were read. Objects that are damaged are quarantined. Blocks.
    pub fn scrub(
        &self,
        rate: Option<u64>,
        mount: &dyn Mounted,
        told: &mut dyn FnMut(Step),
    ) -> Result<(Vec<Finding>, u64), RepositoryError> {
        let segments = self.catalog.snapshot()?.segments;
        let total = segments.values().sum();
        let mut pace = Pace { rate, began: Instant::now(), bytes: 0 };
        let mut tell = |done: u64| {
            told(Step { step: "reading".to_owned(), done, total, unit: Unit::Bytes });
        };
        let mut damaged = Vec::new();
        let mut findings = Vec::new();
        for id in segments.keys() {
            forget_cached(&segment_path(&self.segments, *id));
            let objects = self.catalog.objects_in(*id)?;
            let found = read_segment(&self.segments, *id, &objects, &mut |bytes| {
                pace.read(bytes);
                tell(pace.bytes);
            });
            damaged.extend(found.into_keys());
        }
        self.quarantine(damaged, mount)?;
        for (digest, row) in self.catalog.snapshot()?.views {
            let path = index_path(&self.views, &digest);
            if row.unreached.is_some() && !path.exists() {
                // On its way out.
                continue;
            }
            pace.read(path.metadata().map_or(0, |metadata| metadata.len()));
            if let Err(error) = Index::open(&path)
                && self.catalog.view(&digest)?.is_some_and(|view| !view.stale)
            {
                findings.push(Finding { file: path, what: error.to_string(), advice: REPAIR });
            }
        }
        findings.extend(self.quarantine_findings()?);
        findings.sort_unstable();
        findings.dedup();
        Ok((findings, pace.bytes))
    }

    /// Quarantines those of some objects that are damaged where they are now: whoever noticed may
    /// have looked where they were before.
    pub(crate) fn quarantine(
        &self,
        suspects: Vec<ObjectId>,
        mount: &dyn Mounted,
    ) -> Result<(), RepositoryError> {
        if suspects.is_empty() {
            return Ok(());
        }
        let _turn = self.turn();
        let suspects: HashSet<ObjectId> = suspects.into_iter().collect();
        let snapshot = self.catalog.snapshot()?;
        let locations = suspects.iter().filter_map(|object| snapshot.objects.get(object));
        let segments: BTreeSet<SegmentId> = locations.map(|location| location.segment).collect();
        let mut damaged = Vec::new();
        for segment in segments {
            let mut objects = self.catalog.objects_in(segment)?;
            objects.retain(|(object, ..)| suspects.contains(object));
            let found = read_segment(&self.segments, segment, &objects, &mut |_| {});
            for (object, reason) in &found {
                tracing::error!(object, reason, "an object is damaged and quarantined");
            }
            damaged.extend(found);
        }
        if damaged.is_empty() {
            return Ok(());
        }
        self.catalog.quarantine(&damaged)?;
        self.views().write_stale()?;
        mount.reload(&[]).map_err(RepositoryError::Mount)
    }

    /// What is quarantined, as findings.
    pub(crate) fn quarantine_findings(&self) -> Result<Vec<Finding>, RepositoryError> {
        let snapshot = self.catalog.snapshot()?;
        let quarantined = self.catalog.quarantined()?.into_iter();
        let findings = quarantined.map(|(object, reason)| {
            let segment = snapshot.objects.get(&object).map_or(0, |location| location.segment);
            let file: PathBuf = segment_path(&self.segments, segment);
            Finding { file, what: format!("object {object}: {reason}"), advice: REPAIR }
        });
        Ok(findings.collect())
    }
}

/// Lets the kernel drop what it has of a file, so that it is the disk that is read.
fn forget_cached(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}
