//! Plan of what is to go: plain data, from what is reached and how long the rest has not been.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::mark::Reached;
use crate::catalog::{Snapshot, Things};
use crate::id::{ObjectId, SegmentId};

/// A segment of which less than this part lives is rewritten.
const LIVELY: u64 = 2;

/// Plan of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Out of reach since now.
    pub lost: Things,
    /// Within reach again.
    pub found: Things,
    /// Out of reach for long enough to go.
    pub drop: Things,
    /// Distributions and views that are out of reach and stay for the time being.
    pub waiting: u64,
    /// Objects that nothing has once that is gone.
    pub objects: BTreeSet<ObjectId>,
    /// Segments without an object then, and their lengths in bytes.
    pub dead: BTreeMap<SegmentId, u64>,
    /// Segments mostly without, and how many bytes of each are lost.
    pub sparse: BTreeMap<SegmentId, u64>,
}

/// Plans a collection at `now`, in milliseconds of the store's clock. `contents` are the bytes of content of
/// each segment; one that is not among them cannot be read, and is not rewritten.
pub fn plan(
    snapshot: &Snapshot,
    reached: &Reached,
    contents: &BTreeMap<SegmentId, u64>,
    now: u64,
    grace: Duration,
) -> Plan {
    let mut plan = Plan::default();
    let due =
        |since: u64| now.saturating_sub(since) >= grace.as_millis().try_into().unwrap_or(u64::MAX);
    let mut sorting = Sorting { due: &due, now, waiting: 0 };
    for (name, row) in &snapshot.environments {
        let key = (name, reached.environments.contains(name), row.unreached, false);
        sorting.sort(
            key,
            [
                &mut plan.lost.environments,
                &mut plan.found.environments,
                &mut plan.drop.environments,
            ],
        );
    }
    // What waits may be wanted again as it is, so it keeps what it is made of.
    let environments = snapshot.environments.iter();
    let stay: Vec<_> =
        environments.filter(|(name, _)| !plan.drop.environments.contains(*name)).collect();
    let views: HashSet<&String> = stay.iter().map(|(_, row)| &row.view).collect();
    for (digest, row) in &snapshot.views {
        let is_reached = reached.views.contains(digest);
        let key = (digest, is_reached, row.unreached, views.contains(digest));
        sorting.sort(key, [&mut plan.lost.views, &mut plan.found.views, &mut plan.drop.views]);
    }
    let members = stay.iter().flat_map(|(_, row)| &row.members);
    let views = snapshot.views.iter().filter(|(digest, _)| !plan.drop.views.contains(*digest));
    let parts: HashSet<&i64> = views.flat_map(|(_, row)| &row.parts).chain(members).collect();
    for (id, row) in &snapshot.distributions {
        let key = (id, reached.distributions.contains(id), row.unreached, parts.contains(id));
        sorting.sort(
            key,
            [
                &mut plan.lost.distributions,
                &mut plan.found.distributions,
                &mut plan.drop.distributions,
            ],
        );
    }
    plan.waiting = sorting.waiting;
    let kept: HashSet<ObjectId> = snapshot
        .distributions
        .iter()
        .filter(|(id, _)| !plan.drop.distributions.contains(id))
        .flat_map(|(_, distribution)| distribution.objects.iter().copied())
        .collect();
    plan.objects = snapshot.objects.keys().filter(|id| !kept.contains(id)).copied().collect();
    plan.sort_segments(snapshot, contents, &kept);
    plan
}

impl Plan {
    fn sort_segments(
        &mut self,
        snapshot: &Snapshot,
        contents: &BTreeMap<SegmentId, u64>,
        kept: &HashSet<ObjectId>,
    ) {
        let mut living: BTreeMap<SegmentId, u64> = BTreeMap::new();
        for location in
            snapshot.objects.iter().filter(|(id, _)| kept.contains(id)).map(|(_, at)| at)
        {
            let living = living.entry(location.segment).or_default();
            *living = living.saturating_add(location.size);
        }
        for (id, length) in &snapshot.segments {
            match (living.get(id), contents.get(id)) {
                (None, _) => {
                    self.dead.insert(*id, *length);
                }
                (Some(living), Some(content)) if is_sparse(*living, *content) => {
                    let part = u128::from(*length) * u128::from(content.saturating_sub(*living));
                    let lost = part / u128::from(*content);
                    self.sparse.insert(*id, u64::try_from(lost).unwrap_or(0));
                }
                (Some(_), _) => {}
            }
        }
    }

    /// Bytes of segments that become free.
    pub fn bytes(&self) -> u64 {
        self.dead.values().chain(self.sparse.values()).sum()
    }
}

/// True if so little of a segment's content lives that it is to be rewritten.
pub fn is_sparse(living: u64, content: u64) -> bool {
    living.saturating_mul(LIVELY) < content
}

struct Sorting<'a> {
    due: &'a dyn Fn(u64) -> bool,
    now: u64,
    waiting: u64,
}

impl Sorting<'_> {
    /// Puts a thing, whether it is reached, since when it was not, and whether something that waits has
    /// it, where it belongs.
    fn sort<T: Ord + Clone>(
        &mut self,
        (thing, reached, unreached, kept): (&T, bool, Option<u64>, bool),
        [lost, found, drop]: [&mut BTreeSet<T>; 3],
    ) {
        match (reached, unreached) {
            (true, None) => {}
            (true, Some(_)) => {
                found.insert(thing.clone());
            }
            (false, since) => {
                if since.is_none() {
                    lost.insert(thing.clone());
                }
                if !kept && (self.due)(since.unwrap_or(self.now)) {
                    drop.insert(thing.clone());
                } else {
                    self.waiting += 1;
                }
            }
        }
    }
}
