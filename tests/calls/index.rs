//! What is fetched from an index, and what an index's credentials are seen by.

use std::collections::BTreeSet;
use std::sync::Barrier;

use serde_json::json;

use crate::harness::{Index, Instance, Options, folder};
use crate::tests;

tests!(each_distribution_is_fetched_once, sources_are_built_without_a_network);

/// Names of an environment's distributions.
fn names(instance: &Instance, environment: &str) -> BTreeSet<String> {
    let frozen = instance.ok(&["env", "freeze", environment]);
    frozen.lines().map(|line| line.split("==").next().unwrap().to_owned()).collect()
}

fn each_distribution_is_fetched_once() {
    let packages = ["six", "idna", "iniconfig", "colorama", "toolz", "attrs"];
    let index = Index::start(&packages, &[], None);
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

/// A source that says what its build has seen: a network, what was downloaded, where the index is.
const CURIOUS: &str = "
import os, socket, urllib.parse
from setuptools import setup

def reach(port):
    try:
        socket.create_connection(('127.0.0.1', port), timeout=5).close()
        return True
    except OSError:
        return False

PORT
seen = {
    'network': reach(port) or len(socket.if_nameindex()) > 1,
    'index': [name for name, value in os.environ.items() if '127.0.0.1' in value],
    'downloads': os.path.exists('/pipsqueak/cache') and bool(os.listdir('/pipsqueak/cache')),
}
open('curious.py', 'w').write(f'seen = {seen!r}')
setup(name='curious', version='1.0', py_modules=['curious'], install_requires=['six'])
";

fn sources_are_built_without_a_network() {
    // What the source tries to reach.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("port = {}", listener.local_addr().unwrap().port());
    let curious = CURIOUS.replace("PORT", &port);
    let failing = "raise SystemExit('this cannot be built')\n";
    let lying = "from setuptools import setup\nsetup(name='six', version='99')\n";
    let sources = [("curious", &*curious), ("failing", failing), ("lying", lying)];
    let index = Index::start(&["six", "setuptools", "wheel", "packaging"], &sources, None);
    let instance = Instance::start(&Options {
        variables: vec![("UV_DEFAULT_INDEX", index.url(""))],
        ..Options::default()
    });
    let refused = instance.call(&["env", "add", "built", "curious"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("--allow-build"), "{refused:?}");

    instance.ok(&["env", "add", "built", "curious", "--allow-build"]);
    assert_eq!(names(&instance, "built"), BTreeSet::from(["curious".into(), "six".into()]));
    let code = "import curious\ndef handler(event): return curious.seen\n";
    instance.deploy("built", code, &["--env", "built"]);
    let seen = json!({ "network": false, "downloads": false, "index": [] });
    assert_eq!(instance.invoke("built", &json!({}))["result"], seen);

    // Built once, whoever asks.
    instance.ok(&["env", "add", "again", "curious", "six", "--allow-build"]);
    assert_eq!(index.fetched("curious-1.0.tar.gz"), 1);
    for (package, says) in [("failing", "this cannot be built"), ("lying", "lying is refused")] {
        let output = instance.call(&["env", "add", "bad", package, "--allow-build"]);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains(says), "{output:?}");
    }
    assert_eq!(instance.call(&["env", "show", "bad"]).code, 4);
    // Nothing of the liar's is anybody else's.
    instance.ok(&["env", "add", "honest", "six", "--allow-build"]);
    assert!(!instance.ok(&["env", "freeze", "honest"]).contains("99"));
}
