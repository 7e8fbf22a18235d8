//! Fetching from an index, and the programs that see an index's credentials.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Barrier;

use serde_json::json;

use crate::harness::{Index, Instance, Options, folder};
use crate::tests;

tests!(
    each_distribution_is_fetched_once,
    sources_are_built_without_a_network,
    credentials_are_seen_by_nobody,
);

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

/// Tells what its build sees: a network, the downloads, the place of the index.
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
    let lying = "
import os
from setuptools import setup
os.makedirs('/pipsqueak/work/out', exist_ok=True)
open('/pipsqueak/work/out/six-99-py3-none-any.whl', 'w').close()
setup(name='lying', version='1.0')
";
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
    for (package, says) in [("failing", "this cannot be built"), ("lying", "2 wheels")] {
        let output = instance.call(&["env", "add", "bad", package, "--allow-build"]);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains(says), "{output:?}");
    }
    assert_eq!(instance.call(&["env", "show", "bad"]).code, 4);
    // Nothing of the liar's is anybody else's.
    instance.ok(&["env", "add", "honest", "six", "--allow-build"]);
    assert!(!instance.ok(&["env", "freeze", "honest"]).contains("99"));
}

/// True if a text is in any file below a folder.
fn is_below(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
        let contains = |content: Vec<u8>| content.windows(text.len()).any(|w| w == text.as_bytes());
        (kind.is_dir() && is_below(&path, text))
            || (kind.is_file() && contains(std::fs::read(&path).unwrap()))
    })
}

/// A wheel whose `.pth` file leaves a trace whenever a Python starts beside it.
const TELLTALE: &str = r#"
import sys, zipfile
told = 'import os; f = open("/pipsqueak/env/told", "w"); f.write(repr(os.environ))'
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    info = 'telltale-1.0.dist-info/'
    wheel.writestr('telltale.pth', told + '\n')
    wheel.writestr('telltale.py', 'x = 1\n')
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\nName: telltale\nVersion: 1.0\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    record = ''.join(f'{name},,\n' for name in wheel.namelist())
    wheel.writestr(info + 'RECORD', record + info + 'RECORD,,\n../../../told,,\n')
"#;

fn credentials_are_seen_by_nobody() {
    // `me:hunter2`
    let index = Index::start(&["six", "idna"], &[], Some("Basic bWU6aHVudGVyMg=="));
    index.add("telltale-1.0-py3-none-any.whl", TELLTALE);
    let config = folder();
    let file = config.path().join("config.toml");
    std::fs::write(&file, format!("[index]\nurl = \"{}\"\n", index.url("me:hunter2@"))).unwrap();
    let downloads = folder();
    let instance = Instance::start(&Options {
        variables: vec![
            ("PIPSQUEAK_CONFIG", file.to_str().unwrap().to_owned()),
            ("PIPSQUEAK_CACHE", downloads.path().to_str().unwrap().to_owned()),
        ],
        ..Options::default()
    });
    instance.ok(&["env", "add", "private", "six", "telltale"]);
    assert!(!instance.mount().join("envs/private/told").exists(), "a .pth file has run");
    let absent = instance.call(&["env", "add", "absent", "pipsqueak-no-such-package"]);
    assert_eq!(absent.code, 2, "{absent:?}");
    let shown = instance.ok(&["env", "show", "private", "--json"]);
    for text in [&absent.stderr, &absent.stdout, &shown] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    // Neither in the store, nor the catalog, nor what was downloaded, nor the log.
    assert!(!is_below(&instance.state(), "hunter2"));
    assert!(!is_below(downloads.path(), "hunter2"));
    let log = std::fs::read_to_string(instance.run().join("pipsqueakd.log")).unwrap();
    assert!(!log.contains("hunter2"), "{log}");

    // Refused by the index: told without the password that was wrong.
    let wrong = Instance::start(&Options {
        variables: vec![("UV_DEFAULT_INDEX", index.url("me:mistyped@"))],
        ..Options::default()
    });
    let output = wrong.call(&["env", "add", "private", "idna"]);
    assert_ne!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("127.0.0.1"), "{output:?}");
    assert!(!output.stderr.contains("mistyped"), "{output:?}");
    assert!(!is_below(&wrong.state(), "mistyped"));
}
