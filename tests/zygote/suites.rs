//! Packages' own tests have the same outcomes in a sandboxed fork and in a plain interpreter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::members;
use crate::harness::{Instance, Options, folder};
use crate::tests;

tests!(
    some_of_numpys_and_pandas_tests;
    long
    more_of_numpys_tests,
    more_of_pandas_tests,
    tests_of_requests,
    tests_of_sqlalchemy,
);

const SUITE: &str = include_str!("suite.py");

/// An instance whose function `suite` runs tests, and the folder of the function's code.
struct Suites {
    instance: Instance,
    code: tempfile::TempDir,
}

impl Suites {
    /// Starts an instance with `packages` and the tools that test them. `sources` names projects
    /// whose tests are only in source distributions, and the folders of those that are put beside
    /// the function's code.
    fn start(packages: &[&str], sources: &[(&str, &[&str])]) -> Self {
        let code = folder();
        std::fs::write(code.path().join("suite.py"), SUITE).unwrap();
        for (project, folders) in sources {
            unpack(project, folders, code.path());
        }
        let instance = Instance::start(&Options::default());
        let tools = ["pytest", "hypothesis"];
        instance.ok(&[["env", "add", "suites"].as_slice(), packages, &tools].concat());
        let place = code.path().to_str().unwrap();
        let limits = ["--memory", "4G", "--timeout", "1800"];
        let deploy = ["deploy", "suite", place, "--handler", "suite.handler", "--env", "suites"];
        instance.ok(&[deploy.as_slice(), &limits].concat());
        instance.invoke("suite", &json!({ "directory": "/function", "arguments": ["--version"] }));
        instance.await_zygotes();
        instance.ok(&["evict", "--paused"]);
        Self { instance, code }
    }

    /// Runs tests both ways, in a folder of the function's code. At least `fewest` must pass. Tests
    /// whose names contain a part in `different`, each with a reason, are not compared.
    fn compare(
        &self,
        directory: &str,
        arguments: &[&str],
        fewest: usize,
        different: &[(&str, &str)],
    ) {
        let event =
            json!({ "directory": Path::new("/function").join(directory), "arguments": arguments });
        let answer = self.instance.invoke("suite", &event);
        assert_eq!(
            (&answer["outcome"], &answer["tier"]),
            (&json!("done"), &json!("zygote")),
            "{answer}"
        );
        let forked = members(&answer["result"]);
        let plain = self.plain(directory, arguments);
        let passed = forked.values().filter(|outcome| *outcome == "passed").count();
        assert!(passed >= fewest, "only {passed} have passed: {}", answer["logs"]);
        let is_compared = |name: &str| !different.iter().any(|(part, _)| name.contains(part));
        let names = plain.keys().chain(forked.keys());
        let differ: BTreeMap<_, _> = names
            .filter(|name| is_compared(name) && plain.get(*name) != forked.get(*name))
            .map(|name| (name, [plain.get(name), forked.get(name)]))
            .collect();
        assert!(differ.is_empty(), "plain and forked differ: {differ:#?}\n{}", answer["logs"]);
    }

    /// Outcomes of the tests in a plain interpreter, outside of sandboxes.
    fn plain(&self, directory: &str, arguments: &[&str]) -> BTreeMap<String, Value> {
        let home = folder();
        let output = Command::new(self.instance.mount().join("envs/suites/bin/python"))
            .args(["-I", "-X", "utf8"])
            .arg(self.code.path().join("suite.py"))
            .arg(self.code.path().join(directory))
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .envs([("HOME", home.path()), ("TMPDIR", home.path())])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        members(&serde_json::from_slice(&output.stdout).unwrap())
    }
}

/// Unpacks folders of a project's source distribution into `target`.
fn unpack(project: &str, folders: &[&str], target: &Path) {
    let downloads = folder();
    let downloaded = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest"])
        .arg(downloads.path())
        .arg(project)
        .status();
    assert!(downloaded.unwrap().success());
    let archives = std::fs::read_dir(downloads.path()).unwrap();
    let archive: PathBuf = archives.map(|entry| entry.unwrap().path()).next().unwrap();
    let wanted = folders.iter().map(|folder| format!("*/{folder}"));
    let unpacked = Command::new("tar")
        .args(["--strip-components=1", "--wildcards", "-xzf"])
        .arg(archive)
        .arg("-C")
        .arg(target)
        .args(wanted)
        .status();
    assert!(unpacked.unwrap().success());
}

fn some_of_numpys_and_pandas_tests() {
    let suites = Suites::start(&["numpy", "pandas"], &[]);
    let chosen = [
        "--pyargs",
        "numpy.linalg.tests.test_regression",
        "numpy.random.tests.test_seed_sequence",
        "numpy.lib.tests.test_index_tricks",
        "pandas.tests.series.methods.test_sort_values",
    ];
    suites.compare("", &chosen, 90, &[]);
}

fn more_of_numpys_tests() {
    let suites = Suites::start(&["numpy"], &[]);
    let chosen = [
        "--pyargs",
        "numpy.linalg.tests.test_linalg",
        "numpy.random.tests.test_generator_mt19937",
        "numpy._core.tests.test_ufunc",
    ];
    suites.compare("", &chosen, 1500, &[]);
}

fn more_of_pandas_tests() {
    let suites = Suites::start(&["pandas"], &[]);
    let chosen = [
        "--pyargs",
        "pandas.tests.groupby.test_groupby",
        "pandas.tests.frame.methods.test_sort_values",
    ];
    suites.compare("", &chosen, 2500, &[]);
}

fn tests_of_requests() {
    let packages = ["requests", "pytest-httpbin", "pytest-mock", "trustme", "pysocks"];
    let suites = Suites::start(&packages, &[("requests", &["tests", "requirements-dev.txt"])]);
    let network = [
        ("test_connect_timeout", "a sandbox without a network has no address that does not answer"),
        ("test_total_timeout_connect", "the same"),
    ];
    suites.compare("", &["tests"], 400, &network);
}

fn tests_of_sqlalchemy() {
    // Its tests load pytest's plugin from where it is in the sources.
    let needed = ["test", "lib/sqlalchemy/testing/plugin", "setup.cfg", "pyproject.toml"];
    let suites = Suites::start(&["sqlalchemy"], &[("sqlalchemy", &needed)]);
    let chosen = [
        "test/base/test_utils.py",
        "test/base/test_events.py",
        "test/engine",
        "test/sql/test_types.py",
    ];
    suites.compare("", &chosen, 4000, &[]);
}
