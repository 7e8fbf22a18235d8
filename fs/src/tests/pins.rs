//! Things that are kept although nothing that is published has them.

use std::collections::{BTreeMap, BTreeSet};

use super::fixture::{Store, entered};
use crate::repository::Mounted;
use crate::repository::retained_name;
use crate::vfs::{DirectoryEntry, FileKind};
use crate::view::inode::{ENVS, VIEWS};

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

#[test]
fn a_file_has_one_number_in_all_views_and_a_folder_one_for_each_way_to_it() {
    let store = Store::new();
    store.add("e", &[(1, 1), (2, 1), (3, 1)].into()).unwrap();
    let whole = store.repository.environment("e").unwrap().unwrap();
    let wanted = whole.distributions.iter().find(|one| one.name == "p2").unwrap();
    let subset = store.repository.subset(&whole.view, &|digest| digest == wanted.digest).unwrap();
    store.shown.reload(&[]).unwrap();
    let vfs = &store.shown.0;
    let below = |root: u64| {
        let (mut files, mut folders) = (BTreeMap::new(), BTreeSet::new());
        let mut waiting = vec![(root, String::new())];
        while let Some((folder, path)) = waiting.pop() {
            folders.insert(folder);
            for DirectoryEntry { name, attributes, .. } in vfs.list(folder, 2).unwrap() {
                let (path, inode) = (format!("{path}/{name}"), attributes.inode);
                assert_eq!(vfs.lookup(folder, &name).unwrap(), Some(attributes));
                match attributes.kind {
                    FileKind::Folder => waiting.push((inode, path)),
                    FileKind::File => drop(files.insert(path, inode)),
                    FileKind::Link => {}
                }
            }
        }
        (files, folders)
    };
    let root = |view: &str| {
        let (root, name) = store.repository.root(view).unwrap();
        assert_eq!(vfs.lookup(VIEWS, &name).unwrap().unwrap().inode, root);
        assert_eq!(store.repository.view_of(root).unwrap().as_deref(), Some(view));
        root
    };
    let (all, folders) = below(root(&whole.view));
    let (part, _) = below(root(&subset.view));
    assert!(part.len() > 5 && part.len() < all.len());
    assert!(part.iter().all(|(path, inode)| all[path] == *inode), "{part:?} {all:?}");
    let named = entered(vfs, "e").unwrap().unwrap();
    assert_eq!(store.repository.view_of(named).unwrap(), Some(whole.view));
    let (same, others) = below(named);
    assert_eq!(same, all);
    assert!(folders.is_disjoint(&others));
    assert_eq!(vfs.lookup(VIEWS, "e").unwrap(), None);
}

#[test]
fn names_that_come_and_go_while_others_are_listed_neither_repeat_nor_hide_them() {
    let store = Store::new();
    let names: BTreeSet<String> = (0..12).map(|number| format!("e{number}")).collect();
    for name in &names {
        store.add(name, &[(1, 1)].into()).unwrap();
    }
    let (mut offset, mut listed) = (0, Vec::new());
    for round in 0.. {
        // What comes is as likely ahead of where the listing is as behind that, and so is what goes.
        store.add(&format!("new{round}"), &[(1, 1)].into()).unwrap();
        if round % 2 == 1 {
            store.remove(&format!("new{}", round - 1));
        }
        let Some(entry) = store.shown.0.list(ENVS, offset).unwrap().into_iter().next() else {
            break;
        };
        offset = entry.offset;
        listed.push(entry.name);
    }
    assert_eq!(listed[..2], [".", ".."]);
    let stayed: Vec<_> = listed.iter().filter(|name| names.contains(*name)).collect();
    assert_eq!(stayed.len(), names.len(), "{listed:?}");
    assert_eq!(stayed.into_iter().cloned().collect::<BTreeSet<_>>(), names);
}
