//! Damage: found, quarantined, never served, repaired.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::fixture::{Package, Store, entered, hashes, lock_of, stage, tree, unpacked};
use crate::fsck::repair::{Wheel, repair_with};
use crate::fsck::{Repaired, check, damaged};
use crate::repository::{Mounted, Repository};
use crate::requirements::Requirements;

fn packages() -> BTreeSet<Package> {
    [(1, 1), (2, 1)].into()
}

/// A store with one environment.
fn store() -> Store {
    let store = Store::new();
    store.add("e", &packages()).unwrap();
    store
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort_unstable();
    files
}

/// Flips a bit in place: whoever has the file open sees it too.
fn flip(path: &Path, bit: usize) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit as u64 / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit as u64 / 8).unwrap();
}

fn bits(path: &Path) -> usize {
    usize::try_from(path.metadata().unwrap().len()).unwrap() * 8
}

/// Every file that can be read is right; whether all could be.
fn nothing_is_wrong(store: &Store) -> bool {
    let expected = tree(&packages());
    match store.tree("e") {
        Ok(found) => {
            assert!(found == expected, "wrong bytes were served");
            true
        }
        Err(_) => false,
    }
}

/// Installs all packages again from where they came, as a repair does with uv.
fn repair(store: &Store) -> Repaired {
    let installed = |wheel: &Wheel, staging: &Path| {
        stage(staging, &packages());
        Ok(unpacked(staging, &wheel.locked))
    };
    repair_with(&store.repository, &installed, &store.shown, &mut |_| {}).unwrap()
}

/// Requirements with the digests of fewer wheels than their lock lists.
#[test]
fn an_environment_of_some_of_a_locks_wheels_is_sound_and_repaired() {
    let store = Store::new();
    let one = |package @ (name, version): Package| {
        format!("p{name}=={version} --hash=sha256:{}", hashes(package)[1])
    };
    let asked = Requirements::of(packages().into_iter().map(one));
    store.add_as("e", &packages(), asked).unwrap();
    assert_eq!(store.check(), []);
    fs::remove_file(&files(&store.state().join("segments"), "segment")[0]).unwrap();
    let store = store.restart();
    let installed = |wheel: &Wheel, staging: &Path| {
        assert_eq!(wheel.locked.hashes.len(), 1, "{wheel:?}");
        stage(staging, &packages());
        Ok(unpacked(staging, &wheel.locked))
    };
    let repaired = repair_with(&store.repository, &installed, &store.shown, &mut |_| {}).unwrap();
    assert_eq!((repaired.distributions.len(), repaired.findings), (2, vec![]));
    assert!(nothing_is_wrong(&store));
    // As an earlier version has stored it: with all wheels that there were.
    let mut stored = store.repository.catalog.environment("e").unwrap().unwrap();
    stored.lock = lock_of(&packages());
    store.repository.catalog.put_environment(&stored).unwrap();
    store.repository.show().unwrap();
    store.shown.reload(&[]).unwrap();
    assert_eq!(store.check(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn a_flipped_bit_in_a_segment_is_found_and_repaired(
        which in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let store = store();
        let inodes = |store: &Store| store.shown.0.list(crate::view::inode::ENVS, 2).unwrap();
        let before = inodes(&store);
        let segments = files(&store.state().join("segments"), "segment");
        let path = which.get(&segments);
        flip(path, bit.index(bits(path)));
        let store = store.restart();
        let was_read = nothing_is_wrong(&store);
        let found = store.scrub();
        // A bit that means nothing to the decoder may flip; nothing is damaged then.
        prop_assert!(was_read || !found.is_empty(), "{:?} was not found", path);
        prop_assert_eq!(store.check().is_empty(), found.is_empty());
        let repaired = repair(&store);
        prop_assert_eq!(&repaired.findings, &[]);
        prop_assert!(nothing_is_wrong(&store));
        prop_assert_eq!(store.scrub(), []);
        prop_assert_eq!(inodes(&store), before);
    }

    #[test]
    fn a_flipped_bit_in_an_index_is_found_and_repaired(
        which in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let store = store();
        let before = store.shown.0.list(crate::view::inode::ENVS, 2).unwrap();
        let indexes = files(&store.state().join("views"), "index");
        let path = which.get(&indexes);
        flip(path, bit.index(bits(path)));
        let store = store.restart();
        nothing_is_wrong(&store);
        prop_assert_eq!(store.check().len(), 1);
        prop_assert_eq!(store.scrub().len(), 1);
        let repaired = repair(&store);
        prop_assert_eq!((repaired.indexes, &repaired.findings), (1, &vec![]));
        prop_assert!(nothing_is_wrong(&store));
        prop_assert_eq!(store.shown.0.list(crate::view::inode::ENVS, 2).unwrap(), before);
    }

    #[test]
    fn a_flipped_bit_in_the_catalog_serves_no_wrong_bytes(bit in any::<prop::sample::Index>()) {
        let store = store();
        let folder = store.folder;
        drop((store.repository, store.shown));
        let path = folder.path().join("state/catalog.sqlite");
        flip(&path, bit.index(bits(&path)));
        let (state, cache) = (folder.path().join("state"), folder.path().join("cache"));
        let opened = Repository::open(
            &state,
            &cache,
            "uv".into(),
            "mount".into(),
            crate::ingest::resolve::search_scope::IndexOptions::default(),
        );
        let Ok(repository) = opened else { return Ok(()) };
        let Ok(vfs) = crate::vfs::Vfs::open(&state) else { return Ok(()) };
        let store = Store { folder, repository, shown: super::fixture::TestMount(vfs) };
        let names = store.names();
        if !names.contains("e") {
            let findings = check(&store.repository, &store.shown);
            prop_assert!(findings.is_err() || !findings.unwrap().0.is_empty());
            return Ok(());
        }
        nothing_is_wrong(&store);
        let _ = check(&store.repository, &store.shown);
        nothing_is_wrong(&store);
    }
}

#[test]
fn a_damaged_list_of_names_is_told_and_what_is_open_goes_on() {
    let store = store();
    let root = entered(&store.shown.0, "e").unwrap().unwrap();
    let path = store.state().join("views/published.json");
    flip(&path, bits(&path) / 2);
    assert_eq!(store.check().len(), 1);
    // Whoever reads it anew, as a successor does, shows no names and no wrong ones.
    let successor = crate::vfs::Vfs::open(&store.state()).unwrap();
    assert!(entered(&successor, "e").is_err());
    assert!(successor.attributes(root).is_ok());
    assert!(store.shown.reload(&[]).is_err());
    assert!(nothing_is_wrong(&store));
    assert_eq!(repair(&store).findings, []);
    assert!(nothing_is_wrong(&store));
}

#[test]
fn a_segment_that_is_gone_is_found_by_its_readers_and_repaired() {
    let store = store();
    let segments = files(&store.state().join("segments"), "segment");
    fs::remove_file(&segments[0]).unwrap();
    let store = store.restart();
    assert!(!nothing_is_wrong(&store));
    assert!(damaged(&store.repository, &store.shown).unwrap() > 0);
    assert!(!store.check().is_empty());
    assert_eq!(repair(&store).findings, []);
    assert!(nothing_is_wrong(&store));
    assert_eq!(store.check(), []);
}

#[test]
fn what_is_damaged_is_not_written_anew_as_if_it_were_not() {
    let store = store();
    store.add("more", &[(1, 1), (2, 1), (3, 1), (4, 1)].into()).unwrap();
    store.remove("e");
    store.add("e", &[(3, 1)].into()).unwrap();
    store.remove("more");
    let segments = files(&store.state().join("segments"), "segment");
    for path in &segments {
        for bit in (0..bits(path)).step_by(40_000) {
            flip(path, bit);
        }
    }
    let store = store.restart();
    store.collect();
    let expected = tree(&[(3, 1)].into());
    assert!(store.tree("e").is_err() || store.tree("e").unwrap() == expected);
    assert!(!store.scrub().is_empty());
}

/// A store without its only segment of packages, repaired from an installation in which the files
/// with an ending have other content.
fn repaired_with_other(ending: &str) -> (Store, Repaired) {
    let store = store();
    fs::remove_file(&files(&store.state().join("segments"), "segment")[0]).unwrap();
    let install = |wheel: &Wheel, staging: &Path| {
        stage(staging, &packages());
        let mut folders = vec![staging.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_str().unwrap().ends_with(ending) {
                    fs::write(path, "other").unwrap();
                }
            }
        }
        Ok(unpacked(staging, &wheel.locked))
    };
    let repaired = repair_with(&store.repository, &install, &store.shown, &mut |_| {}).unwrap();
    (store, repaired)
}

#[test]
fn bytecode_that_is_made_differently_takes_the_place_of_what_was_there() {
    let (store, repaired) = repaired_with_other(".pyc");
    assert_eq!(repaired.findings, []);
    let mut expected = tree(&packages());
    for (path, content) in &mut expected {
        if Path::new(path).extension().is_some_and(|extension| extension == "pyc") {
            *content = b"other".to_vec();
        }
    }
    assert!(store.tree("e").unwrap() == expected);
    store.collect();
    assert!(store.restart().tree("e").unwrap() == expected);
}

#[test]
fn what_is_not_what_was_stored_is_not_taken_for_it() {
    let (store, repaired) = repaired_with_other("old.py");
    assert!(repaired.findings.iter().any(|found| found.what.contains("is not what was stored")));
    assert!(store.tree("e").is_err());
    assert_eq!(repair(&store).findings, []);
    assert!(nothing_is_wrong(&store));
}

#[test]
fn good_bytes_of_what_is_quarantined_are_taken_in() {
    let store = store();
    let catalog = &store.repository.catalog;
    let snapshot = catalog.snapshot().unwrap();
    let (id, _) = snapshot.distributions.iter().find(|(_, row)| row.name == "p1").unwrap();
    let objects = catalog.objects_of(*id).unwrap();
    let (_, lost) = objects.iter().find(|(path, _)| path.ends_with("p1/old.py")).unwrap();
    catalog.quarantine(&[(*lost, "as if".to_owned())]).unwrap();
    store.repository.views().write_stale().unwrap();
    store.shown.reload(&[]).unwrap();
    assert!(!nothing_is_wrong(&store));
    // Another version of it has the same file.
    store.add("other", &[(1, 0)].into()).unwrap();
    assert!(nothing_is_wrong(&store));
    assert_eq!(catalog.quarantined().unwrap(), []);
    assert_eq!((store.check(), store.scrub()), (vec![], vec![]));
    // It is in one place only.
    store.remove("other");
    store.collect();
    assert!(nothing_is_wrong(&store));
    assert_eq!((store.check(), store.scrub()), (vec![], vec![]));
}
