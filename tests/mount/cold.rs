//! A cold import reads what it needs, and little else.

use std::process::Command;

use crate::harness::{Instance, Options, dropped_caches, eventually, kill_9};
use crate::tests;

tests!(
    a_cold_import_decodes_little_more_than_it_reads,
    who_enters_a_package_has_its_import_read_ahead,
    an_import_needs_no_prefetching_process,
);

/// Content of a frame, in bytes.
const FRAME_BYTES: u64 = 128 << 10;

fn a_cold_import_decodes_little_more_than_it_reads() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "science", "pandas"]);
    kill_9(&instance.status()["mount"]["pid"]);
    eventually("a successor serves", || instance.status()["mount"]["successions"] == 1);
    let counted = |what: &str| instance.status()["mount"]["requests"][what].as_u64().unwrap();
    let (decoded, read) = (counted("decoded-frames"), counted("read-bytes"));
    let _caches = dropped_caches();
    let python = instance.mount().join("envs/science/bin/python");
    let done = Command::new(python).args(["-c", "import pandas"]).status().unwrap();
    assert!(done.success());
    let decoded = (counted("decoded-frames") - decoded) * FRAME_BYTES;
    let read = counted("read-bytes") - read;
    // Pandas has three times as many files as importing it reads. In the order of their paths 1.4
    // times what is read is decoded, in that of the trace 1.2 times.
    assert!(read > 10 << 20, "{read}");
    assert!(decoded < read * 13 / 10, "{decoded} bytes decoded for {read}");
}

fn who_enters_a_package_has_its_import_read_ahead() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "web", "requests"]);
    let packages = instance.mount().join("envs/web/lib/python3.11/site-packages");
    let _caches = dropped_caches();
    let read = || instance.status()["mount"]["requests"]["read"].as_u64().unwrap();
    let before = read();
    let in_package = || std::fs::metadata(packages.join("requests/no-such-file"));
    assert!(in_package().is_err());
    // It imports urllib3 and others: a hundred files that nobody has asked for.
    eventually("its import is read ahead", || read() > before + 50);
    let certainly_read = packages.join("urllib3/__pycache__/response.cpython-311.pyc");
    let mapped = std::fs::File::open(certainly_read).unwrap();
    let pages = instance.status()["mount"]["requests"]["read"].clone();
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut &mapped, &mut content).unwrap();
    assert!(content.len() > 1000);
    assert_eq!(pages, instance.status()["mount"]["requests"]["read"], "its pages were there");
}

fn an_import_needs_no_prefetching_process() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "web", "requests"]);
    let server = instance.status()["mount"]["pid"].as_u64().unwrap();
    // Whichever of its threads has started it.
    let threads = std::fs::read_dir(format!("/proc/{server}/task")).unwrap().flatten();
    let children: Vec<i32> = threads
        .flat_map(|thread| {
            let told = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            told.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect();
    let [prefetcher] = children[..] else { panic!("{children:?}") };
    kill_9(&prefetcher.into());
    let _caches = dropped_caches();
    let python = instance.mount().join("envs/web/bin/python");
    let done = Command::new(python).args(["-c", "import requests"]).status().unwrap();
    assert!(done.success());
    instance.ok(&["down"]);
}
