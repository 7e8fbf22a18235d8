//! Writing what lives in segments that are mostly dead anew, so that their files can go.

use std::collections::{BTreeMap, HashSet};

use crate::catalog::remove_unless_entered;
use crate::id::{ObjectId, SegmentId};
use crate::repository::{Mounted, Repository, RepositoryError};
use crate::store::append::Appender;
use crate::store::read::Reader;
use crate::store::verify::read_segment;
use crate::store::{Location, StoreError, pack};

use super::disk::Disk;
use super::plan::is_sparse;

/// Moves what is in sparse segments to a new one; how many are empty then. Their objects keep
/// their numbers, and the indexes that lead to them are stale.
pub(crate) fn compact(repository: &Repository) -> Result<u64, RepositoryError> {
    let _turn = repository.turn();
    let snapshot = repository.catalog.snapshot()?;
    let contents = Disk::of(repository, &snapshot).contents();
    let mut living: BTreeMap<SegmentId, u64> = BTreeMap::new();
    for location in snapshot.objects.values() {
        let living = living.entry(location.segment).or_default();
        *living = living.saturating_add(location.size);
    }
    let sparse = living.into_iter().filter(|(id, living)| {
        contents.get(id).is_some_and(|content| is_sparse(*living, *content))
    });
    let mut moving = Vec::new();
    let mut emptied = 0;
    for (id, _) in sparse {
        let sound = sound_objects(repository, id)?;
        emptied += u64::from(sound.is_whole);
        moving.extend(sound.objects);
    }
    if moving.is_empty() {
        return Ok(0);
    }
    rewrite(repository, &moving)?;
    Ok(emptied)
}

/// Writes objects into a new segment, in this order.
fn rewrite(
    repository: &Repository,
    moving: &[(ObjectId, Location)],
) -> Result<(), RepositoryError> {
    let reader = Reader::new(repository.segments.clone()).map_err(RepositoryError::Mount)?;
    let read = |number: usize, from: u64, part: &mut [u8]| {
        let Some((_, location)) = moving.get(number) else { return Ok::<_, StoreError>(()) };
        let content = reader.read(*location, from, part.len())?;
        part.copy_from_slice(content.get(..part.len()).unwrap_or_default());
        Ok(())
    };
    let sizes: Vec<u64> = moving.iter().map(|(_, location)| location.size).collect();
    let appender = Appender::begin(&*repository.segments, repository.catalog.begin_segment()?)?;
    let sealed = pack::write(appender, &sizes, read, &mut |_, _| {})?;
    let moved: Vec<_> =
        moving.iter().map(|(id, _)| *id).zip(sealed.locations.iter().copied()).collect();
    Ok(remove_unless_entered(
        &*repository.segments,
        sealed.id,
        repository.catalog.move_objects(&sealed, &moved),
    )?)
}

/// A segment's objects that are what was stored. The others stay where they are: what is
/// damaged is not written anew as if it were not.
fn sound_objects(repository: &Repository, id: SegmentId) -> Result<Sound, RepositoryError> {
    let quarantined: HashSet<ObjectId> =
        repository.catalog.quarantined()?.into_iter().map(|(object, _)| object).collect();
    let all = repository.catalog.objects_in(id)?;
    let damaged = read_segment(&*repository.segments, id, &all, &mut |_| {});
    let is_sound =
        |object: &ObjectId| !quarantined.contains(object) && !damaged.contains_key(object);
    let sound = all.iter().filter(|(object, ..)| is_sound(object));
    let objects: Vec<_> = sound.map(|(object, location, _)| (*object, *location)).collect();
    Ok(Sound { is_whole: objects.len() == all.len(), objects })
}

/// Writes indexes that are stale, lets the mount read them, and removes the segments that
/// nothing is in any more; how many.
pub(crate) fn remove_empty(
    repository: &Repository,
    mount: &dyn Mounted,
) -> Result<u64, RepositoryError> {
    let _turn = repository.turn();
    repository.views().write_stale()?;
    let empty = repository.catalog.empty_segments()?;
    if empty.is_empty() {
        return Ok(0);
    }
    // Even where nothing was stale: a predecessor may have written what the mount has not read.
    mount.reload(&[]).map_err(RepositoryError::Mount)?;
    // What is not in the catalog is removed by the next start, whatever happens here.
    repository.catalog.forget_segments(&empty)?;
    repository.segments.remove(&empty)?;
    Ok(empty.len() as u64)
}

struct Sound {
    objects: Vec<(ObjectId, Location)>,
    /// True if these are all.
    is_whole: bool,
}
