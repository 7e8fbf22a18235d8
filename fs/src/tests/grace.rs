//! Grace periods: whole each time, and with all that something out of reach is made of.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fixture::{Package, Store, tree};
use crate::gc::{self, Collected, Roots};

const GRACE: Duration = Duration::from_secs(300);

fn collect(store: &Store, roots: &Roots) -> Collected {
    let collected = gc::collect(&store.repository, roots, GRACE, &store.shown).unwrap();
    assert_eq!(store.check(), []);
    collected
}

fn wait(store: &Store, part: u32) {
    store.repository.clock.pass(GRACE / part);
}

fn of(packages: &[Package]) -> BTreeSet<Package> {
    packages.iter().copied().collect()
}

#[test]
fn what_is_used_again_and_left_again_waits_again() {
    let store = Store::new();
    store.add("first", &of(&[(0, 0), (1, 0)])).unwrap();
    store.remove("first");
    assert_eq!(collect(&store, &Roots::default()).waiting, 6);
    wait(&store, 1);
    // The same distributions in another view, and the same view.
    store.add("second", &of(&[(0, 0), (2, 0)])).unwrap();
    store.add("first", &of(&[(0, 0), (1, 0)])).unwrap();
    store.remove("second");
    store.remove("first");
    for _ in 0..2 {
        let collected = collect(&store, &Roots::default());
        assert_eq!((collected.distributions, collected.views), (vec![], 0));
        wait(&store, 4);
    }
    store.add("second", &of(&[(0, 0), (2, 0)])).unwrap();
    assert_eq!(store.tree("second").unwrap(), tree(&of(&[(0, 0), (2, 0)])));
    store.remove("second");
    wait(&store, 1);
    // What was used last waits from now on, with all that it is made of.
    collect(&store, &Roots::default());
    assert_eq!(store.repository.catalog.snapshot().unwrap().views.len(), 3);
    wait(&store, 1);
    collect(&store, &Roots::default());
    assert!(store.repository.catalog.snapshot().unwrap().distributions.is_empty());
}

#[test]
fn what_waits_keeps_what_it_is_made_of() {
    let store = Store::new();
    store.add("first", &of(&[(0, 0)])).unwrap();
    store.add("other", &of(&[(0, 0)])).unwrap();
    store.remove("first");
    // Out of reach for so long, whatever was done with it since: as builds before this had it.
    collect(&store, &Roots::default());
    let everything = store.repository.catalog.snapshot().unwrap();
    let mut lost = crate::catalog::Things::default();
    lost.distributions.extend(everything.distributions.keys().copied());
    store.repository.catalog.entomb(&lost, &crate::catalog::Things::default(), 0).unwrap();
    let abandoned = Roots { abandoned: ["other".to_owned()].into(), ..Roots::default() };
    let collected = collect(&store, &abandoned);
    assert_eq!(collected.distributions, Vec::<String>::new());
    wait(&store, 1);
    let collected = collect(&store, &abandoned);
    assert_eq!((collected.distributions.len(), collected.environments.len()), (2, 1));
    assert!(store.repository.catalog.snapshot().unwrap().views.is_empty());
}

#[test]
fn the_grace_period_is_measured_while_the_store_is_open() {
    let mut store = Store::new();
    store.add("first", &of(&[(0, 0)])).unwrap();
    store.remove("first");
    collect(&store, &Roots::default());
    wait(&store, 2);
    collect(&store, &Roots::default());
    store = store.restart();
    // What has passed counts, what passes while it is closed does not.
    assert!(collect(&store, &Roots::default()).waiting > 0);
    wait(&store, 2);
    assert_eq!(collect(&store, &Roots::default()).waiting, 0);
}
