//! Carrying a collection out.

use std::fs;
use std::io;
use std::time::Duration;

use super::compact::{compact, remove_empty};
use super::disk::{Disk, length};
use super::mark::{Reached, Roots, mark};
use super::plan::{Plan, plan};
use super::usage::Usage;
use crate::catalog::{Snapshot, Things};
use crate::durable;
use crate::ingest::archive::cache::CachedArchive;
use crate::repository::{Mounted, Repository, RepositoryError};
use crate::store::StoreError;
use crate::view::published::{distribution_name, index_path};

/// Time for which an archive stays that nothing stored is of, after its last use.
const ARCHIVES_STAY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Result of a collection, done or planned.
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

/// Tells what is stored and what it costs.
pub fn usage(repository: &Repository, roots: &Roots) -> Result<Usage, RepositoryError> {
    let _turn = repository.turn();
    let snapshot = repository.catalog.snapshot()?;
    let reached = mark(&snapshot, &with_own(repository, roots));
    Ok(Usage::of(&snapshot, &Disk::of(repository, &snapshot), &reached))
}

/// Says what a collection would do.
pub fn would_collect(
    repository: &Repository,
    roots: &Roots,
    grace: Duration,
) -> Result<Collected, RepositoryError> {
    let _turn = repository.turn();
    let (snapshot, plan, _) = planned(repository, roots, grace)?;
    let mut collected = summary(repository, &snapshot, &plan);
    let old = old_archives(repository, &snapshot)?;
    collected.archives = old.len() as u64;
    collected.bytes += old.iter().map(|archive| archive.bytes).sum::<u64>();
    Ok(collected)
}

/// Reclaims what nothing has reached for `grace`. Blocks; readers and additions go on.
pub fn collect(
    repository: &Repository,
    roots: &Roots,
    grace: Duration,
    mount: &dyn Mounted,
) -> Result<Collected, RepositoryError> {
    match collect_once(repository, roots, grace, mount) {
        Err(error) if error.is_full() && repository.reserve.give() => {
            let collected = collect_once(repository, roots, grace, mount);
            repository.reserve.take();
            collected
        }
        collected => {
            repository.reserve.take();
            collected
        }
    }
}

fn collect_once(
    repository: &Repository,
    roots: &Roots,
    grace: Duration,
    mount: &dyn Mounted,
) -> Result<Collected, RepositoryError> {
    let before = bytes_on_disk(repository);
    let mut freed = 0;
    let mut collected = {
        let _turn = repository.turn();
        let (snapshot, plan, now) = planned(repository, roots, grace)?;
        // First: they take what a disk that is full has least use for.
        let old = old_archives(repository, &snapshot)?;
        for archive in &old {
            durable::remove(&archive.path).map_err(StoreError::at(&archive.path))?;
            freed += archive.bytes;
        }
        let mut collected = summary(repository, &snapshot, &plan);
        collected.archives = old.len() as u64;
        repository.catalog.entomb(&plan.lost, &plan.found, now)?;
        drop_planned(repository, &snapshot, &plan, mount)?;
        collected
    };
    // What is to be written anew may need the room of what is not.
    let removed = remove_empty(repository, mount)?;
    collected.segments_rewritten = match compact(repository) {
        Err(error) if error.is_full() => {
            tracing::warn!(%error, "segments that are mostly dead stay as they are");
            0
        }
        compacted => compacted?,
    };
    let emptied = remove_empty(repository, mount)?;
    collected.segments_removed = removed + emptied.saturating_sub(collected.segments_rewritten);
    collected.bytes = freed + before.saturating_sub(bytes_on_disk(repository));
    Ok(collected)
}

/// Archives that nothing stored is of, and that no addition has used for long. Of what is stored they are
/// kept: repairing takes them.
fn old_archives(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Vec<CachedArchive>, RepositoryError> {
    let stored = snapshot.distributions.values().filter_map(|row| row.archive.as_deref());
    let old = repository.archive_cache.unused(&stored.collect(), ARCHIVES_STAY);
    Ok(old.map_err(StoreError::at(repository.archive_cache.folder()))?)
}

fn planned(
    repository: &Repository,
    roots: &Roots,
    grace: Duration,
) -> Result<(Snapshot, Plan, u64), RepositoryError> {
    let snapshot = repository.catalog.snapshot()?;
    let reached: Reached = mark(&snapshot, &with_own(repository, roots));
    let now = repository.clock.now();
    let contents = Disk::of(repository, &snapshot).contents();
    let plan = plan(&snapshot, &reached, &contents, now, grace);
    Ok((snapshot, plan, now))
}

/// Roots with what this process itself counts on.
fn with_own(repository: &Repository, roots: &Roots) -> Roots {
    let mut roots = roots.clone();
    roots.views.extend(repository.held_views.all());
    roots.views.extend(repository.retained());
    roots.artifacts.extend(repository.held_artifacts.all());
    roots
}

fn drop_planned(
    repository: &Repository,
    snapshot: &Snapshot,
    plan: &Plan,
    mount: &dyn Mounted,
) -> Result<(), RepositoryError> {
    let nothing = Things::default();
    if plan.drop == nothing && plan.objects.is_empty() {
        return Ok(());
    }
    let environments = plan.drop.environments.clone();
    let hidden = repository.hide_subsets(&plan.drop.views);
    if !environments.is_empty() {
        let names = Things { environments: environments.clone(), ..nothing };
        repository.catalog.drop_things(&names, &[].into())?;
    }
    if hidden || !environments.is_empty() {
        repository.show()?;
    }
    for digest in &plan.drop.views {
        let path = index_path(&repository.views, digest);
        durable::remove(&path).map_err(StoreError::at(&path))?;
    }
    durable::sync(&repository.views).map_err(StoreError::at(&repository.views))?;
    let names = environments.into_iter().chain(names_of(snapshot, &plan.drop));
    mount.reload(&names.collect::<Vec<_>>()).map_err(RepositoryError::Mount)?;
    let rest = Things { environments: [].into(), ..plan.drop.clone() };
    Ok(repository.catalog.drop_things(&rest, &plan.objects)?)
}

fn summary(repository: &Repository, snapshot: &Snapshot, plan: &Plan) -> Collected {
    let indexes =
        plan.drop.views.iter().map(|digest| length(&index_path(&repository.views, digest)));
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

fn bytes_on_disk(repository: &Repository) -> u64 {
    let segments = repository.segments.list().unwrap_or_default();
    let indexes = fs::read_dir(&repository.views).into_iter().flatten().filter_map(io::Result::ok);
    segments.iter().map(|listed| listed.bytes).sum::<u64>()
        + indexes.map(|entry| length(&entry.path())).sum::<u64>()
}

fn names_of<'a>(snapshot: &'a Snapshot, things: &'a Things) -> impl Iterator<Item = String> {
    let rows = things.distributions.iter().filter_map(|id| snapshot.distributions.get(id));
    rows.map(|row| distribution_name(&row.name, &row.version, &row.digest))
}
