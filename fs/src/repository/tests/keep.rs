//! What is kept although nothing that is published has it.

use super::fixture::Store;
use crate::gc::Mounted;
use crate::repository::retained_name;

#[test]
fn a_lease_outlives_the_process_that_gave_it() {
    let store = Store::new();
    store.add("e", &[(1, 1)].into()).unwrap();
    let view = store.repository.lease_to("container 7", "e").unwrap();
    assert!(store.repository.lease_to("container 8", "other").is_err());
    store.remove("e");
    let store = store.restart();
    assert_eq!(store.collect().views, 0);
    assert_eq!(store.repository.leases().unwrap(), [("container 7".to_owned(), view)]);
    assert_eq!(store.check(), []);
    assert!(store.repository.end_lease("container 7").unwrap());
    assert!(!store.repository.end_lease("container 7").unwrap());
    // Its own view, and the distribution's.
    assert_eq!(store.collect().views, 2);
    assert_eq!(store.check(), []);
}

#[test]
fn a_subset_is_shown_until_it_is_collected_and_has_what_was_wanted() {
    let store = Store::new();
    store.add("e", &[(1, 1), (2, 1), (3, 1)].into()).unwrap();
    store.add("same", &[(1, 1)].into()).unwrap();
    let environment = |name| store.repository.environment(name).unwrap().unwrap();
    let (whole, same) = (environment("e"), environment("same"));
    let wanted = whole.distributions.iter().find(|one| one.name == "p1").unwrap();
    let subset = store.repository.subset(&whole.view, &|digest| digest == wanted.digest).unwrap();
    assert_eq!(subset.digest, same.digest);
    assert_ne!(subset.view, same.view);
    let name = retained_name(&subset.view);
    store.shown.reload(&[]).unwrap();
    assert_eq!(store.tree(&name).unwrap(), store.tree("same").unwrap());
    assert_eq!(store.check(), []);
    // Collected neither while it is leased nor with what it shares.
    assert_eq!(store.collect().views, 0);
    drop(subset);
    assert_eq!(store.collect().views, 1);
    assert_eq!(store.check(), []);
    assert!(store.repository.subset("no such view", &|_| true).is_err());
}
