//! Random changes against a plain model: names, and the packages behind each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::fixture::{Package, Store, Tree, entered, tree};
use crate::catalog::DistributionRow;
use crate::durable::crash;
use crate::gc::{Roots, collect};
use crate::repository::Lease;

#[derive(Debug, Clone)]
enum Action {
    Add(u8, BTreeSet<Package>),
    Remove(u8),
    Pin(u8),
    Unpin(u8),
    /// Something runs in an environment from now on.
    Use(u8),
    /// Nothing runs in anything any more.
    Release,
    Collect,
    Wait,
    Restart,
    /// An addition and a collection that are cut off.
    CrashAdding(u8, BTreeSet<Package>, u64),
    CrashCollecting(u64),
}

fn changes() -> impl Strategy<Value = Action> {
    let name = 0..3_u8;
    let packages = || {
        proptest::collection::btree_map(0..4_u8, 0..2_u8, 1..4)
            .prop_map(|map| map.into_iter().collect())
    };
    prop_oneof![
        4 => (name.clone(), packages()).prop_map(|(name, packages)| Action::Add(name, packages)),
        3 => name.clone().prop_map(Action::Remove),
        1 => name.clone().prop_map(Action::Pin),
        1 => name.clone().prop_map(Action::Unpin),
        1 => name.clone().prop_map(Action::Use),
        1 => Just(Action::Release),
        3 => Just(Action::Collect),
        1 => Just(Action::Wait),
        1 => Just(Action::Restart),
        2 => (name, packages(), 0..30_u64)
            .prop_map(|(name, packages, at)| Action::CrashAdding(name, packages, at)),
        2 => (0..30_u64).prop_map(Action::CrashCollecting),
    ]
}

/// Model of what should be there.
#[derive(Default)]
struct Model {
    environments: BTreeMap<String, BTreeSet<Package>>,
    pins: BTreeMap<String, BTreeSet<Package>>,
    /// Root inodes of views that something runs in.
    used: Vec<(u64, BTreeSet<Package>, Lease)>,
}

impl Model {
    /// Packages that must be stored.
    fn needed(&self) -> BTreeSet<Package> {
        let named = self.environments.values().chain(self.pins.values());
        named.chain(self.used.iter().map(|(_, packages, _)| packages)).flatten().copied().collect()
    }
}

fn carry_out(mut store: Store, model: &mut Model, action: Action) -> Store {
    let named = |name: u8| format!("e{name}");
    match action {
        Action::Add(name, packages) => {
            store.add(&named(name), &packages).unwrap();
            model.environments.insert(named(name), packages);
        }
        Action::Remove(name) => {
            store.remove(&named(name));
            model.environments.remove(&named(name));
        }
        Action::Pin(name) => {
            let known = model.environments.get(&named(name));
            assert_eq!(store.repository.pin(&named(name)).is_ok(), known.is_some());
            model.pins.extend(known.map(|packages| (named(name), packages.clone())));
        }
        Action::Unpin(name) => {
            let was = model.pins.remove(&named(name)).is_some();
            assert_eq!(store.repository.unpin(&named(name)).unwrap(), was);
        }
        Action::Use(name) => {
            if let Some(packages) = model.environments.get(&named(name)) {
                let environment = store.repository.environment(&named(name)).unwrap().unwrap();
                let lease = store.repository.lease(&environment.view);
                let root = entered(&store.shown.0, &named(name)).unwrap().unwrap();
                model.used.push((root, packages.clone(), lease));
            }
        }
        Action::Release => model.used.clear(),
        Action::Collect => {
            store.collect();
            assert_eq!(stored(&store), model.needed(), "what is stored, and what is needed");
        }
        Action::Wait => {
            let grace = Duration::from_secs(3600);
            let before = store.repository.catalog.snapshot().unwrap();
            collect(&store.repository, &Roots::default(), grace, &store.shown).unwrap();
            let after = store.repository.catalog.snapshot().unwrap();
            assert_eq!(before.distributions.len(), after.distributions.len());
        }
        Action::Restart => {
            model.used.clear();
            store = store.restart();
        }
        Action::CrashAdding(name, packages, at) => {
            let done = crash::at(at, || store.add(&named(name), &packages).unwrap());
            if done.is_none() {
                model.used.clear();
                store = store.restart();
            }
            // The old one or the new one, nothing between.
            if shown(&store, &named(name)) == Some(tree(&packages)) {
                model.environments.insert(named(name), packages);
            }
        }
        Action::CrashCollecting(at) => {
            if crash::at(at, || store.collect()).is_none() {
                model.used.clear();
                store = store.restart();
            }
        }
    }
    store
}

/// Packages that are stored.
fn stored(store: &Store) -> BTreeSet<Package> {
    let stored = store.repository.catalog.snapshot().unwrap();
    let packages = stored.distributions.values().filter(|row| row.name != "venv");
    let package =
        |row: &DistributionRow| (row.name[1..].parse().unwrap(), row.version.parse().unwrap());
    packages.map(package).collect()
}

/// Files of an environment, if it is shown.
fn shown(store: &Store, name: &str) -> Option<Tree> {
    store.names().contains(name).then(|| store.tree(name).unwrap())
}

fn compare(store: &Store, model: &Model) {
    assert_eq!(store.names(), model.environments.keys().cloned().collect());
    for (name, packages) in &model.environments {
        assert!(store.tree(name).unwrap() == tree(packages), "{name} is not what it should be");
    }
    for (root, packages, _) in &model.used {
        assert!(store.tree_of(*root).unwrap() == tree(packages), "a view in use is not whole");
    }
    assert_eq!(store.check(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn whatever_is_done_what_is_needed_is_there(
        changes in proptest::collection::vec(changes(), 1..14),
    ) {
        let mut store = Store::new();
        let mut model = Model::default();
        for action in changes {
            store = carry_out(store, &mut model, action);
            compare(&store, &model);
        }
        model.used.clear();
        for name in model.pins.keys() {
            assert!(store.repository.unpin(name).unwrap());
        }
        for name in model.environments.keys() {
            store.remove(name);
        }
        store.collect();
        assert_eq!(store.check(), []);
        let left = store.repository.catalog.snapshot().unwrap();
        assert!(left.segments.is_empty() && left.objects.is_empty() && left.views.is_empty());
        assert_eq!(std::fs::read_dir(store.state().join("segments")).unwrap().count(), 0);
    }
}
