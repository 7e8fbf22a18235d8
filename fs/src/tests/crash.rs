//! Crashes at every step.

use std::collections::BTreeSet;

use super::fixture::{Package, Store, tree};
use crate::durable::crash;

fn packages(list: &[Package]) -> BTreeSet<Package> {
    list.iter().copied().collect()
}

/// Does something that crashes at its first step, its second, and so on, each time with a new
/// store; how many steps there are.
fn at_every_step(prepare: impl Fn(&Store), work: impl Fn(&Store), compare: impl Fn(&Store)) -> u64 {
    for step in 0.. {
        let store = Store::new();
        prepare(&store);
        let is_done = crash::at(step, || work(&store)).is_some();
        let store = store.restart();
        assert_eq!(store.check(), [], "after a crash at step {step}");
        assert_eq!(store.scrub(), [], "after a crash at step {step}");
        compare(&store);
        // What was cut off can be done again, and leaves nothing behind.
        work(&store);
        store.collect();
        assert_eq!(store.check(), [], "after a second try at step {step}");
        compare(&store);
        if is_done {
            return step;
        }
    }
    unreachable!("there is no end")
}

#[test]
fn an_addition_is_done_or_not() {
    let (old, new) = (packages(&[(1, 1), (2, 1)]), packages(&[(1, 1), (2, 2), (3, 1)]));
    let steps = at_every_step(
        |store| store.add("e", &old).unwrap(),
        |store| store.add("e", &new).unwrap(),
        |store| {
            let found = store.tree("e").unwrap();
            assert!(found == tree(&old) || found == tree(&new), "it is something between");
        },
    );
    assert!(steps > 10, "{steps}");
}

#[test]
fn a_collection_takes_nothing_that_is_needed() {
    let kept = packages(&[(1, 1)]);
    let steps = at_every_step(
        |store| {
            // In one segment with much of what goes, so that it is rewritten.
            let both: BTreeSet<Package> = packages(&[(1, 1), (2, 1), (3, 1)]);
            store.add("both", &both).unwrap();
            store.add("kept", &kept).unwrap();
            store.add("gone", &packages(&[(1, 2), (2, 1)])).unwrap();
            store.remove("both");
            store.remove("gone");
        },
        |store| drop(store.collect()),
        |store| {
            assert!(store.tree("kept").unwrap() == tree(&kept), "what is needed is not whole");
            assert_eq!(store.names(), ["kept".to_owned()].into());
        },
    );
    assert!(steps > 15, "{steps}");
}

#[test]
fn what_a_cut_off_collection_has_left_is_collected_by_the_next() {
    for step in 0.. {
        let store = Store::new();
        store.add("kept", &packages(&[(1, 1)])).unwrap();
        store.add("gone", &packages(&[(2, 1), (3, 1)])).unwrap();
        store.remove("gone");
        let is_done = crash::at(step, || store.collect()).is_some();
        let store = store.restart();
        store.collect();
        let left = store.repository.catalog.snapshot().unwrap();
        // Its own view, the environment's; and what every environment has.
        assert_eq!((left.views.len(), left.distributions.len()), (2, 2), "step {step}");
        assert_eq!(left.segments.len(), 2, "step {step}");
        if is_done {
            break;
        }
    }
}
