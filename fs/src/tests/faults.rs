//! Failures of the place of segments at every step.

use std::collections::BTreeSet;

use super::fixture::{Package, Store, tree};
use crate::gc::{Roots, collect};

fn packages(list: &[Package]) -> BTreeSet<Package> {
    list.iter().copied().collect()
}

#[test]
fn an_addition_that_fails_leaves_what_was_there_and_can_be_done_again() {
    let (old, new) = (packages(&[(1, 1), (2, 1)]), packages(&[(1, 1), (2, 2), (3, 1)]));
    for changes in 0.. {
        let (store, segments) = Store::faulty();
        store.add("e", &old).unwrap();
        segments.fail_after(changes);
        let added = store.add("e", &new);
        let has_failed = segments.mend();
        assert_eq!(added.is_err(), has_failed, "after {changes} changes");
        let expected = if has_failed { &old } else { &new };
        assert!(store.tree("e").unwrap() == tree(expected), "after {changes} changes");
        assert_eq!(store.check(), [], "after {changes} changes");
        store.add("e", &new).unwrap();
        assert!(store.tree("e").unwrap() == tree(&new), "after {changes} changes");
        if !has_failed {
            assert!(changes > 5, "{changes}");
            return;
        }
    }
}

#[test]
fn a_collection_that_fails_takes_nothing_that_is_needed_and_is_done_by_the_next() {
    let kept = packages(&[(1, 1)]);
    for changes in 0.. {
        let (store, segments) = Store::faulty();
        // In one segment with much of what goes, so that it is rewritten.
        store.add("both", &packages(&[(1, 1), (2, 1), (3, 1)])).unwrap();
        store.add("kept", &kept).unwrap();
        store.remove("both");
        segments.fail_after(changes);
        // Where it writes it may leave what is mostly dead as it is, and so need not fail.
        let _ =
            collect(&store.repository, &Roots::default(), std::time::Duration::ZERO, &store.shown);
        let has_failed = segments.mend();
        assert!(store.tree("kept").unwrap() == tree(&kept), "after {changes} changes");
        let store = store.restart();
        assert_eq!(store.check(), [], "after {changes} changes");
        store.collect();
        assert_eq!(store.check(), [], "after {changes} changes");
        assert!(store.tree("kept").unwrap() == tree(&kept), "after {changes} changes");
        let listed = store.repository.segments.list().unwrap();
        assert_eq!(listed.len(), 2, "after {changes} changes: {listed:?}");
        if !has_failed {
            assert!(changes > 3, "{changes}");
            return;
        }
    }
}
