//! Comparison of a zygote's child with an interpreter of its own, by all that a process can see of
//! itself, for distributions whose imports do different things.

use std::process::Command;

use serde_json::Value;

use crate::harness::{binary, interpreters};
use crate::tests;

tests!(
    some_distributions_see_the_same;
    long many_distributions_see_the_same, other_interpreters_see_the_same,
);

/// Distributions with Rust and C code, threads that stop for a fork, `.pth` files, use of metadata,
/// files in `/tmp`, warnings.
const SOME: [&str; 5] = ["numpy", "pydantic", "setuptools", "matplotlib", "keyring"];
/// Distributions with lasting threads, patches, hooks, plug-ins, namespaces, timers, own loaders of
/// libraries.
const MANY: [&str; 22] = [
    "aiohttp",
    "astropy",
    "boto3",
    "cryptography",
    "django",
    "duckdb",
    "gevent",
    "grpcio",
    "hypothesis",
    "lxml",
    "opentelemetry-sdk",
    "pandas",
    "pillow",
    "polars",
    "psutil",
    "pyarrow",
    "pytest",
    "requests",
    "scipy",
    "sqlalchemy",
    "uvloop",
    "wrapt",
];
/// Modules that the handler of the survey itself imports late, by asking for metadata.
const LATE: &str = "importlib_metadata._";

/// Compares both kinds of start for each distribution.
fn survey(names: &[&str], flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let path = binary("pipsqueak-bench").parent().unwrap().to_owned();
    let path = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(binary("pipsqueak-bench"));
    command.arg("same").args(names).arg("--results").arg(&results).args(flags);
    let output = command.env("PATH", path).env("TMPDIR", folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let found = std::fs::read_to_string(&results).unwrap();
    let found: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), names.len(), "{said}");
    for one in found {
        let details = one["details"].as_array().unwrap();
        let is_late = details.iter().all(|detail| detail.as_str().unwrap().contains("lacks []"))
            && details.iter().any(|detail| detail.as_str().unwrap().contains(LATE));
        let is_same = one["verdict"] == "same" || one["verdict"] == "different" && is_late;
        assert!(is_same, "{one}");
    }
}

fn some_distributions_see_the_same() {
    survey(&SOME, &[]);
}

fn many_distributions_see_the_same() {
    survey(&MANY, &[]);
}

fn other_interpreters_see_the_same() {
    for (minor, prefix) in interpreters() {
        let python = prefix.join(format!("bin/python3.{minor}"));
        survey(&SOME, &["--python", python.to_str().unwrap()]);
    }
}
