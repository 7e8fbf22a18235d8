//! What is kept although nothing that is published has it.

use super::fixture::Store;

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
