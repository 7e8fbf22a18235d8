//! Usage: what is used is what is on disk.

use super::fixture::{Store, tree};
use crate::gc::disk::Disk;
use crate::gc::{Roots, Usage};
use crate::id::Digest;

fn usage(store: &Store) -> Usage {
    crate::gc::usage(&store.repository, &Roots::default()).unwrap()
}

#[test]
fn a_segment_is_known_by_the_digest_of_its_bytes() {
    let store = Store::new();
    store.add("e", &[(1, 1)].into()).unwrap();
    let catalog = &store.repository.catalog;
    let segments = catalog.snapshot().unwrap().segments;
    assert_eq!(segments.len(), 2);
    for id in segments.into_keys() {
        let content = std::fs::read(store.repository.segments.path(id)).unwrap();
        assert_eq!(catalog.segment_digest(id).unwrap(), Some(Digest::of(&content)));
    }
}

#[test]
fn what_an_environment_costs_alone_is_dead_without_it() {
    let store = Store::new();
    let (large, small) = ([(1, 1), (2, 1)].into(), [(1, 1)].into());
    store.add("large", &large).unwrap();
    store.add("small", &small).unwrap();
    let before = usage(&store);
    let cost = |name: &str| before.environments[name].clone();
    assert_eq!((cost("small").alone, cost("small").shared), (0, cost("large").shared));
    assert!(cost("large").alone > 100_000, "{before:?}");
    let packages: usize = tree(&large).values().map(Vec::len).sum();
    let rest = cost("large").content - packages as u64;
    assert!(rest > 0 && rest < 2000, "RECORDs and pyvenv.cfg have {rest} bytes");
    // Headers and directories of segments, and what is lost in sharing frames out.
    assert!(before.dead < 1000, "{before:?}");

    store.remove("large");
    let after = usage(&store);
    assert_eq!(after.on_disk, before.on_disk);
    let snapshot = store.repository.catalog.snapshot().unwrap();
    let disk = Disk::of(&store.repository, &snapshot);
    let reached = crate::gc::mark::mark(&snapshot, &Roots::default());
    let gone = disk.indexes.iter().filter(|(digest, _)| !reached.views.contains(*digest));
    let indexes: u64 = gone.map(|(_, bytes)| bytes).sum();
    assert_eq!(after.dead - before.dead, cost("large").alone + indexes);
}
