//! Reading everything, at a bounded rate.

use std::thread;
use std::time::{Duration, Instant};

use super::quarantine::{quarantine, quarantine_findings};
use super::{Finding, REPAIR};
use crate::id::SegmentId;
use crate::ingest::{Step, Unit};
use crate::repository::{Mounted, Repository, RepositoryError};
use crate::store::segments::{Advice, Segments};
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

/// Reads and checks all that segments and indexes hold at no more than `rate` bytes per second; what is
/// wrong, and how many bytes were read. Objects that are damaged are quarantined. Blocks.
pub fn scrub(
    repository: &Repository,
    rate: Option<u64>,
    mount: &dyn Mounted,
    told: &mut dyn FnMut(Step),
) -> Result<(Vec<Finding>, u64), RepositoryError> {
    let segments = repository.catalog.snapshot()?.segments;
    let total = segments.values().sum();
    let mut pace = Pace { rate, began: Instant::now(), bytes: 0 };
    let mut tell = |done: u64| {
        told(Step { step: "reading".to_owned(), done, total, unit: Unit::Bytes });
    };
    let mut damaged = Vec::new();
    let mut findings = Vec::new();
    for id in segments.keys() {
        forget_cached(&*repository.segments, *id);
        let objects = repository.catalog.objects_in(*id)?;
        let found = read_segment(&*repository.segments, *id, &objects, &mut |bytes| {
            pace.read(bytes);
            tell(pace.bytes);
        });
        damaged.extend(found.into_keys());
    }
    quarantine(repository, damaged, mount)?;
    for (digest, row) in repository.catalog.snapshot()?.views {
        let path = index_path(&repository.views, &digest);
        if row.unreached.is_some() && !path.exists() {
            // On its way out.
            continue;
        }
        pace.read(path.metadata().map_or(0, |metadata| metadata.len()));
        if let Err(error) = Index::open(&path)
            && repository.catalog.view(&digest)?.is_some_and(|view| !view.stale)
        {
            findings.push(Finding { file: path, what: error.to_string(), advice: REPAIR });
        }
    }
    findings.extend(quarantine_findings(repository)?);
    findings.sort_unstable();
    findings.dedup();
    Ok((findings, pace.bytes))
}

/// Drops from the caches what is there of a segment, so that it is the disk that is read.
fn forget_cached(segments: &dyn Segments, id: SegmentId) {
    if let Ok(source) = segments.open(id)
        && let Ok(length) = source.length()
    {
        source.advise(0, length, Advice::HasRead);
    }
}
