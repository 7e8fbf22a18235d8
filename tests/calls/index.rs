//! What is fetched from an index, and what an index's credentials are seen by.

use std::collections::BTreeSet;
use std::sync::Barrier;

use crate::harness::{Index, Instance, Options, folder};
use crate::tests;

tests!(each_distribution_is_fetched_once,);

/// Names of an environment's distributions.
fn names(instance: &Instance, environment: &str) -> BTreeSet<String> {
    let frozen = instance.ok(&["env", "freeze", environment]);
    frozen.lines().map(|line| line.split("==").next().unwrap().to_owned()).collect()
}

fn each_distribution_is_fetched_once() {
    let packages = ["six", "idna", "iniconfig", "colorama", "toolz", "attrs"];
    let index = Index::start(&packages, None);
    let downloads = folder();
    let instance = Instance::start(&Options {
        variables: vec![
            ("UV_DEFAULT_INDEX", index.url("")),
            ("PIPSQUEAK_CACHE", downloads.path().to_str().unwrap().to_owned()),
        ],
        ..Options::default()
    });
    let set = |first: usize| -> Vec<&str> { (0..4).map(|n| packages[(first + n) % 6]).collect() };
    let sets: Vec<(String, Vec<&str>)> = (0..6)
        .map(|n| (format!("env{n}"), set(n)))
        // Two of the same name.
        .chain([("same".to_owned(), set(0)), ("same".to_owned(), set(3))])
        .collect();
    let start = Barrier::new(sets.len());
    std::thread::scope(|scope| {
        for (name, packages) in &sets {
            let (start, instance) = (&start, &instance);
            scope.spawn(move || {
                start.wait();
                instance.ok(&[&["env", "add", name], packages.as_slice()].concat());
            });
        }
    });
    for archive in index.archives() {
        assert_eq!(index.fetched(&archive), 1, "{archive}");
    }
    let wanted =
        |packages: &[&str]| packages.iter().map(|&p| p.to_owned()).collect::<BTreeSet<_>>();
    for (name, packages) in &sets[..6] {
        assert_eq!(names(&instance, name), wanted(packages), "{name}");
    }
    let same = names(&instance, "same");
    assert!(same == wanted(&set(0)) || same == wanted(&set(3)), "{same:?}");
    // Stored once, too.
    let dists = std::fs::read_dir(instance.mount().join("dists")).unwrap();
    assert_eq!(dists.count(), packages.len());
    let stored = std::process::Command::new("python3")
        .args([
            "-c",
            "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(\
               \"SELECT count(*) FROM distributions WHERE name != 'venv'\").fetchone())",
        ])
        .arg(instance.state().join("catalog.sqlite"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&stored.stdout).trim(), packages.len().to_string());
}
