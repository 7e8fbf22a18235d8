//! Objects that are damaged: entered in the catalog, and led to by no index until they are repaired.

use std::collections::{BTreeSet, HashSet};

use super::{Finding, REPAIR};
use crate::id::{ObjectId, SegmentId};
use crate::repository::{Mounted, Repository, RepositoryError};
use crate::store::verify::read_segment;

/// Counts the objects that are quarantined, those included that readers have found damaged.
pub fn damaged(repository: &Repository, mount: &dyn Mounted) -> Result<u64, RepositoryError> {
    // A mount that is between two servers has more to tell later.
    let suspects = mount.suspects().unwrap_or_default();
    if let Err(error) = quarantine(repository, suspects, mount) {
        tracing::error!(%error, "quarantining what readers have found damaged");
    }
    Ok(repository.catalog.quarantined()?.len() as u64)
}

/// Quarantines those of some objects that are damaged where they are now: whoever noticed may
/// have looked where they were before.
pub fn quarantine(
    repository: &Repository,
    suspects: Vec<ObjectId>,
    mount: &dyn Mounted,
) -> Result<(), RepositoryError> {
    if suspects.is_empty() {
        return Ok(());
    }
    let _turn = repository.turn();
    let suspects: HashSet<ObjectId> = suspects.into_iter().collect();
    let snapshot = repository.catalog.snapshot()?;
    let locations = suspects.iter().filter_map(|object| snapshot.objects.get(object));
    let segments: BTreeSet<SegmentId> = locations.map(|location| location.segment).collect();
    let mut damaged = Vec::new();
    for segment in segments {
        let mut objects = repository.catalog.objects_in(segment)?;
        objects.retain(|(object, ..)| suspects.contains(object));
        let found = read_segment(&*repository.segments, segment, &objects, &mut |_| {});
        for (object, reason) in &found {
            tracing::error!(object, reason, "an object is damaged and quarantined");
        }
        damaged.extend(found);
    }
    if damaged.is_empty() {
        return Ok(());
    }
    repository.catalog.quarantine(&damaged)?;
    repository.views().write_stale()?;
    mount.reload(&[]).map_err(RepositoryError::Mount)
}

/// Tells of all that is quarantined, as findings.
pub fn quarantine_findings(repository: &Repository) -> Result<Vec<Finding>, RepositoryError> {
    let snapshot = repository.catalog.snapshot()?;
    let quarantined = repository.catalog.quarantined()?.into_iter();
    let findings = quarantined.map(|(object, reason)| {
        let segment = snapshot.objects.get(&object).map_or(0, |location| location.segment);
        let file = repository.segments.path(segment);
        Finding { file, what: format!("object {object}: {reason}"), advice: REPAIR }
    });
    Ok(findings.collect())
}
