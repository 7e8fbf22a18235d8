//! Carrying a collection out.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::mark::{Reached, Roots, mark};
use super::plan::{Plan, plan};
use super::usage::{Disk, Usage, usage};
use crate::catalog::{Snapshot, Things};
use crate::durable;
use crate::id::SegmentId;
use crate::ingest::kept::Archive;
use crate::repository::{Mounted, Repository, RepositoryError};
use crate::store::read::Segment;
use crate::store::{StoreError, segment_path};
use crate::view::published::{distribution_name, index_path};

/// Time for which an archive stays that nothing stored is of, after its last use.
const ARCHIVES_STAY: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a collection has done, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Environments of functions that are gone, by name.
    pub environments: Vec<String>,
    /// Distributions, by what the mount called them.
    pub distributions: Vec<String>,
    /// Views.
    pub views: u64,
    /// Objects.
    pub objects: u64,
    /// Segments that were removed whole.
    pub segments_removed: u64,
    /// Segments whose living rest was written anew.
    pub segments_rewritten: u64,
    /// Archives of downloads that were removed.
    pub archives: u64,
    /// Bytes on disk that became free.
    pub bytes: u64,
    /// Distributions and views that are out of reach, and not for long enough to go.
    pub waiting: u64,
}

impl Repository {
    /// What is stored and what it costs.
    pub fn usage(&self, roots: &Roots) -> Result<Usage, RepositoryError> {
        let _turn = self.turn();
        let snapshot = self.catalog.snapshot()?;
        let reached = mark(&snapshot, &self.with_own(roots));
        Ok(usage(&snapshot, &self.disk(&snapshot), &reached))
    }

    /// Says what a collection would do.
    pub fn would_collect(
        &self,
        roots: &Roots,
        grace: Duration,
    ) -> Result<Collected, RepositoryError> {
        let _turn = self.turn();
        let (snapshot, plan, _) = self.planned(roots, grace)?;
        let mut collected = self.summary(&snapshot, &plan);
        let old = self.old_archives(&snapshot)?;
        collected.archives = old.len() as u64;
        collected.bytes += old.iter().map(|archive| archive.bytes).sum::<u64>();
        Ok(collected)
    }

    /// Reclaims what nothing has reached for `grace`. Blocks; readers and additions go on.
    pub fn collect(
        &self,
        roots: &Roots,
        grace: Duration,
        mount: &dyn Mounted,
    ) -> Result<Collected, RepositoryError> {
        match self.collect_once(roots, grace, mount) {
            Err(error) if error.is_full() && self.reserve.give() => {
                let collected = self.collect_once(roots, grace, mount);
                self.reserve.take();
                collected
            }
            collected => {
                self.reserve.take();
                collected
            }
        }
    }

    fn collect_once(
        &self,
        roots: &Roots,
        grace: Duration,
        mount: &dyn Mounted,
    ) -> Result<Collected, RepositoryError> {
        let before = self.bytes_on_disk();
        let mut freed = 0;
        let mut collected = {
            let _turn = self.turn();
            let (snapshot, plan, now) = self.planned(roots, grace)?;
            // First: they take what a disk that is full has least use for.
            let old = self.old_archives(&snapshot)?;
            for archive in &old {
                durable::remove(&archive.path).map_err(StoreError::at(&archive.path))?;
                freed += archive.bytes;
            }
            let mut collected = self.summary(&snapshot, &plan);
            collected.archives = old.len() as u64;
            self.catalog.entomb(&plan.lost, &plan.found, now)?;
            self.drop_planned(&snapshot, &plan, mount)?;
            collected
        };
        // What is to be written anew may need the room of what is not.
        let removed = self.remove_empty(mount)?;
        collected.segments_rewritten = match self.compact() {
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "segments that are mostly dead stay as they are");
                0
            }
            compacted => compacted?,
        };
        let emptied = self.remove_empty(mount)?;
        collected.segments_removed = removed + emptied.saturating_sub(collected.segments_rewritten);
        collected.bytes = freed + before.saturating_sub(self.bytes_on_disk());
        Ok(collected)
    }

    /// Archives that nothing stored is of, and that no addition has used for long. Of what is stored they are
    /// kept: repairing takes them.
    fn old_archives(&self, snapshot: &Snapshot) -> Result<Vec<Archive>, RepositoryError> {
        let stored = snapshot.distributions.values().filter_map(|row| row.archive.as_deref());
        let old = self.kept.unused(&stored.collect(), ARCHIVES_STAY);
        Ok(old.map_err(StoreError::at(self.kept.folder()))?)
    }

    fn planned(
        &self,
        roots: &Roots,
        grace: Duration,
    ) -> Result<(Snapshot, Plan, u64), RepositoryError> {
        let snapshot = self.catalog.snapshot()?;
        let reached: Reached = mark(&snapshot, &self.with_own(roots));
        let now = self.clock.now();
        let contents = self.disk(&snapshot).contents();
        let plan = plan(&snapshot, &reached, &contents, now, grace);
        Ok((snapshot, plan, now))
    }

    /// Roots with what this process itself counts on.
    fn with_own(&self, roots: &Roots) -> Roots {
        let mut roots = roots.clone();
        roots.views.extend(self.leased.all());
        roots.views.extend(self.retained());
        roots.artifacts.extend(self.wanted.all());
        roots
    }

    fn drop_planned(
        &self,
        snapshot: &Snapshot,
        plan: &Plan,
        mount: &dyn Mounted,
    ) -> Result<(), RepositoryError> {
        let nothing = Things::default();
        if plan.drop == nothing && plan.objects.is_empty() {
            return Ok(());
        }
        let environments = plan.drop.environments.clone();
        let hidden = self.hide_subsets(&plan.drop.views);
        if !environments.is_empty() {
            let names = Things { environments: environments.clone(), ..nothing };
            self.catalog.drop_things(&names, &[].into())?;
        }
        if hidden || !environments.is_empty() {
            self.show()?;
        }
        for digest in &plan.drop.views {
            let path = index_path(&self.views, digest);
            durable::remove(&path).map_err(StoreError::at(&path))?;
        }
        durable::sync(&self.views).map_err(StoreError::at(&self.views))?;
        let names = environments.into_iter().chain(names_of(snapshot, &plan.drop));
        mount.reload(&names.collect::<Vec<_>>()).map_err(RepositoryError::Mount)?;
        let rest = Things { environments: [].into(), ..plan.drop.clone() };
        Ok(self.catalog.drop_things(&rest, &plan.objects)?)
    }

    /// Writes indexes that are stale, lets the mount read them, and removes the segments that
    /// nothing is in any more; how many.
    pub(crate) fn remove_empty(&self, mount: &dyn Mounted) -> Result<u64, RepositoryError> {
        let _turn = self.turn();
        self.views().write_stale()?;
        let empty = self.catalog.empty_segments()?;
        if empty.is_empty() {
            return Ok(0);
        }
        // Even where nothing was stale: a predecessor may have written what the mount has not read.
        mount.reload(&[]).map_err(RepositoryError::Mount)?;
        // What is not in the catalog is removed by the next start, whatever happens here.
        self.catalog.forget_segments(&empty)?;
        for id in &empty {
            let path = segment_path(&self.segments, *id);
            durable::remove(&path).map_err(StoreError::at(&path))?;
        }
        durable::sync(&self.segments).map_err(StoreError::at(&self.segments))?;
        Ok(empty.len() as u64)
    }

    fn summary(&self, snapshot: &Snapshot, plan: &Plan) -> Collected {
        let indexes = plan.drop.views.iter().map(|digest| length(&index_path(&self.views, digest)));
        Collected {
            environments: plan.drop.environments.iter().cloned().collect(),
            distributions: names_of(snapshot, &plan.drop).collect(),
            views: plan.drop.views.len() as u64,
            objects: plan.objects.len() as u64,
            segments_removed: plan.dead.len() as u64,
            segments_rewritten: plan.sparse.len() as u64,
            archives: 0,
            bytes: plan.bytes() + indexes.sum::<u64>(),
            waiting: plan.waiting,
        }
    }

    /// What is on disk of what the catalog says.
    pub(crate) fn disk(&self, snapshot: &Snapshot) -> Disk {
        let directories = snapshot.segments.keys().filter_map(|id| {
            let segment = Segment::open(&self.segments, *id).ok()?;
            Some((*id, segment.directory().clone()))
        });
        let indexes = snapshot.views.keys();
        Disk {
            directories: directories.collect(),
            indexes: indexes
                .map(|digest| (digest.clone(), length(&index_path(&self.views, digest))))
                .collect(),
        }
    }

    fn bytes_on_disk(&self) -> u64 {
        let folders = [&self.segments, &self.views];
        let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok());
        let paths = entries.flatten().filter_map(io::Result::ok).map(|entry| entry.path());
        paths.map(|path| length(&path)).sum()
    }
}

impl Disk {
    /// Bytes of content of each segment.
    pub fn contents(&self) -> BTreeMap<SegmentId, u64> {
        self.directories.iter().map(|(id, directory)| (*id, directory.content())).collect()
    }
}

fn names_of<'a>(snapshot: &'a Snapshot, things: &'a Things) -> impl Iterator<Item = String> {
    let rows = things.distributions.iter().filter_map(|id| snapshot.distributions.get(id));
    rows.map(|row| distribution_name(&row.name, &row.version, &row.digest))
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}
