//! Usage: what is stored and what each environment and distribution costs.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::disk::Disk;
use super::mark::Reached;
use crate::catalog::Snapshot;
use crate::id::ObjectId;
use crate::view::published::distribution_name;

/// Cost of an environment or a distribution, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cost {
    /// Content of its files.
    pub content: u64,
    /// On disk, what it alone needs: what would be free if it went.
    pub alone: u64,
    /// On disk, what others need too.
    pub shared: u64,
}

/// Usage of the store, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Environments, by name.
    pub environments: BTreeMap<String, Cost>,
    /// Distributions, by what the mount calls them.
    pub distributions: BTreeMap<String, Cost>,
    /// Pinned names.
    pub pins: Vec<String>,
    /// Holders of leases, and the views that they keep.
    pub leases: Vec<(String, String)>,
    /// Content of all environments' files, each as often as it is there.
    pub content: u64,
    /// Content of all objects, each once.
    pub objects: u64,
    /// Segments and indexes on disk.
    pub on_disk: u64,
    /// Bytes of these that nothing needs, and that share no frame with what something needs.
    pub dead: u64,
}

impl Usage {
    /// Works out what is used, where `reached` is what must stay.
    pub fn of(snapshot: &Snapshot, disk: &Disk, reached: &Reached) -> Self {
        let stored = disk.stored(&snapshot.objects);
        let parts = |view: &str| {
            let row = snapshot.views.get(view);
            row.map(|row| row.parts.as_slice()).unwrap_or_default()
        };
        let environments = costs(
            snapshot,
            &stored,
            snapshot.environments.iter().map(|(name, row)| (name.clone(), parts(&row.view))),
        );
        // Another artifact with the same files is the same to whoever looks at names.
        let mut by_name: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (id, row) in &snapshot.distributions {
            let name = distribution_name(&row.name, &row.version, &row.digest);
            by_name.entry(name).or_default().push(*id);
        }
        let distributions = costs(
            snapshot,
            &stored,
            by_name.iter().map(|(name, ids)| (name.clone(), ids.as_slice())),
        );
        let segments: u64 = snapshot.segments.values().sum();
        let living: u64 = reached.objects(snapshot).iter().filter_map(|id| stored.get(id)).sum();
        let indexes: u64 = disk.indexes.values().sum();
        let living_indexes: u64 = disk
            .indexes
            .iter()
            .filter(|(view, _)| reached.views.contains(*view))
            .map(|(_, bytes)| bytes)
            .sum();
        Self {
            content: environments.values().map(|cost| cost.content).sum(),
            objects: snapshot.objects.values().map(|object| object.size).sum(),
            on_disk: segments + indexes,
            dead: (segments + indexes).saturating_sub(living + living_indexes),
            environments,
            distributions,
            pins: snapshot.pins.iter().map(|(name, _)| name.clone()).collect(),
            leases: snapshot.leases.clone(),
        }
    }
}

/// Costs of owners of distributions, compared with each other.
fn costs<'a>(
    snapshot: &Snapshot,
    stored: &HashMap<ObjectId, u64>,
    owners: impl Iterator<Item = (String, &'a [i64])>,
) -> BTreeMap<String, Cost> {
    let owned: Vec<(String, u64, HashSet<ObjectId>)> = owners
        .map(|(name, ids)| {
            let rows = ids.iter().filter_map(|id| snapshot.distributions.get(id));
            let objects = rows.flat_map(|row| row.objects.iter().copied());
            let sizes = objects.clone().filter_map(|id| Some(snapshot.objects.get(&id)?.size));
            (name, sizes.sum(), objects.collect())
        })
        .collect();
    let mut owners_of: HashMap<ObjectId, u32> = HashMap::new();
    for object in owned.iter().flat_map(|(_, _, objects)| objects) {
        *owners_of.entry(*object).or_default() += 1;
    }
    let cost = |(name, content, objects): (String, u64, HashSet<ObjectId>)| {
        let mut cost = Cost { content, ..Cost::default() };
        for object in objects {
            let stored = stored.get(&object).copied().unwrap_or(0);
            let part =
                if owners_of.get(&object) == Some(&1) { &mut cost.alone } else { &mut cost.shared };
            *part += stored;
        }
        (name, cost)
    };
    owned.into_iter().map(cost).collect()
}
