//! Stored distributions compared with the archives that they are of.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::fixture::Store;
use crate::catalog::Owner;
use crate::fsck::check_archives;
use crate::gc::{Roots, collect, would_collect};
use crate::ingest::archive::room::Room;
use crate::ingest::archive::unpack;
use crate::ingest::archive::unpacked::UnpackedFile;
use crate::ingest::archive::wheel::layout::Expected;
use crate::ingest::archive::wheel::sample;
use crate::ingest::commit::{Incoming, Installed, commit};
use crate::ingest::resolve::lock::Locked;
use crate::ingest::resolve::wanted::Wanted;
use crate::ingest::trace::Traced;
use crate::repository::EnvironmentSpec;
use crate::repository::Mounted;
use crate::requirements::Requirements;

/// Adds an environment of a wheel, of which `change` changes what is stored.
fn stored(change: impl Fn(&Path, &mut Vec<UnpackedFile>)) -> (Store, Locked) {
    let store = Store::new();
    let archive = sample::wheel(&[("thing.py", "x = 'as published'\n"), ("same.py", "x = 1\n")]);
    let mut content = Vec::new();
    (&*archive).read_to_end(&mut content).unwrap();
    let path = store.folder.path().join("thing.whl");
    std::fs::write(&path, content).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let summed = std::process::Command::new("sha256sum").arg(&path).output().unwrap();
    let digest = String::from_utf8(summed.stdout).unwrap()[..64].to_owned();
    let locked = Locked {
        name: "thing".to_owned(),
        version: "1.0".to_owned(),
        url: None,
        hashes: vec![format!("sha256:{digest}")],
        source: None,
    };
    let repository = &store.repository;
    let archive = repository.archive_cache.take(&locked, &file).unwrap().unwrap();
    let interpreter = sample::interpreter();
    let expected = Expected { name: "thing", version: Some("1.0"), interpreter: &interpreter };
    let root = store.folder.path().join("root");
    let space = Room::of(store.folder.path()).unwrap();
    let mut unpacked = unpack::unpack(&archive.file, &expected, &root, &space).unwrap();
    change(&root, &mut unpacked.files);
    let incoming = [Incoming { artifact: locked.artifact(), archive: archive.hash, unpacked }];
    let installed = Installed {
        incoming: &incoming,
        traced: Traced::default(),
        interpreter: interpreter.identity(),
    };
    commit(&repository.catalog, &*repository.segments, installed, &mut |_, _| {}).unwrap();
    let spec = EnvironmentSpec {
        name: "e".to_owned(),
        owner: Owner::User,
        requirements: Requirements::default(),
        host: interpreter.clone(),
        interpreter,
        upgrade: false,
    };
    let wanted = Wanted::of(&spec.requirements, &spec.interpreter).unwrap();
    repository.publish(&spec, &wanted, std::slice::from_ref(&locked)).unwrap();
    store.shown.reload(&[]).unwrap();
    (store, locked)
}

fn whats(store: &Store) -> BTreeSet<String> {
    let (findings, _) = check_archives(&store.repository, &store.shown, &mut |_| {}).unwrap();
    findings.into_iter().map(|finding| finding.what).collect()
}

#[test]
fn what_is_stored_as_its_archive_has_it_is_sound() {
    let (store, _) = stored(|_, _| {});
    assert_eq!(whats(&store), BTreeSet::new());
}

#[test]
fn archives_that_nobody_needs_go_with_a_collection() {
    let (store, locked) = stored(|_, _| {});
    let archives = store.folder.path().join("cache/archives");
    let needed = archives.join(locked.hashes[0].replace(':', "-"));
    let paths = ["0", "1"].map(|digit| archives.join(format!("sha256-{}", digit.repeat(64))));
    for path in &paths {
        std::fs::write(path, "archive").unwrap();
    }
    let old = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
    for path in [&needed, &paths[0]] {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    let there = || [&needed, &paths[0], &paths[1]].map(|path| path.exists());
    let (repository, roots, grace) = (&store.repository, Roots::default(), Duration::ZERO);
    let would = would_collect(repository, &roots, grace).unwrap();
    assert_eq!((would.archives, would.bytes, there()), (1, 7, [true; 3]));
    let collected = collect(repository, &roots, grace, &store.shown).unwrap();
    assert_eq!((collected.archives, there()), (1, [true, false, true]));
}

#[test]
fn what_is_not_what_its_archive_has_is_found_where_nothing_else_finds_it() {
    let site = "lib/python3.11/site-packages";
    let (store, locked) = stored(|root, files| {
        let content = b"x = 'hijacked'\n";
        for file in &mut *files {
            if file.path.ends_with("thing.py") {
                std::fs::write(root.join(&file.path), content).unwrap();
                file.content.object = Some(crate::id::Digest::of(content));
                file.size = content.len() as u64;
            }
        }
        files.retain(|file| !file.path.ends_with("same.py"));
        let more = files.iter().find(|file| file.path.ends_with("thing.py")).cloned();
        let mut more = more.unwrap();
        let path = format!("{site}/more.py");
        std::fs::copy(root.join(&more.path), root.join(&path)).unwrap();
        more.path = path;
        files.push(more);
    });
    assert_eq!(store.check(), []);
    assert_eq!(store.scrub(), []);
    let expected = [
        format!("thing 1.0: \"{site}/more.py\" is not in its archive"),
        format!("thing 1.0: \"{site}/same.py\" of its archive is not stored"),
        format!("thing 1.0: \"{site}/thing.py\" is not what its archive has"),
    ];
    assert_eq!(whats(&store), expected.into());
    // What is not here any more is compared with nothing.
    let digest = locked.hashes[0].replace(':', "-");
    std::fs::remove_file(store.folder.path().join("cache/archives").join(digest)).unwrap();
    assert_eq!(whats(&store), BTreeSet::new());
}
