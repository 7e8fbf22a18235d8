//! Values of variables: only the function has them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{Instance, Options, write};
use crate::tests;

tests!(values_are_shown_to_nobody, variables_come_from_files_and_stdin, state_is_for_root_alone);

const TELLS: &str = "
import os
def handler(event): return {name: os.environ.get(name) for name in event}
";

fn values_are_shown_to_nobody() {
    let instance = Instance::start(&Options::default());
    let file = write(&instance.scratch(), "tells.py", TELLS);
    let path = file.to_str().unwrap();
    let flags =
        ["--set", "TOKEN=hunter2", "--set", "PYTHONHUNTER=hunter2", "--set", "LANG=hunter2"];
    let deployed = instance.ok(&[["deploy", "f", path].as_slice(), &flags].concat());
    assert_eq!(instance.invoke("f", &json!(["TOKEN"]))["result"], json!({"TOKEN": "hunter2"}));
    instance.ok(&["invoke", "f", "--async", "-d", "[]"]);
    let failing = write(&instance.scratch(), "fails.py", "def handler(event): raise ValueError\n");
    let failing = failing.to_str().unwrap();
    instance.ok(&["deploy", "fails", failing, "--set", "TOKEN=hunter2", "--retries", "0"]);
    instance.ok(&["invoke", "fails", "--async", "-d", "[]"]);
    let shown = instance.ok(&["functions", "show", "f"]);
    assert!(shown.contains("variable     TOKEN\n"), "{shown}");
    for asked in [
        &["functions", "show", "f", "--json"][..],
        &["functions", "ls", "--json"],
        &["functions", "ls"],
        &["explain", "f"],
        &["explain", "f", "--json"],
        &["status", "--json"],
        &["zygotes", "tree"],
        &["zygotes", "ls", "--json"],
        &["zygotes", "export"],
        &["events", "ls", "--json"],
        &["logs", "f"],
        &["logs", "fails"],
    ] {
        let told = instance.ok(asked);
        assert!(!told.contains("hunter2"), "{asked:?}: {told}");
    }
    assert!(!shown.contains("hunter2") && !deployed.contains("hunter2"));
    let log = std::fs::read_to_string(instance.run().join("pipsqueakd.log")).unwrap();
    assert!(!log.contains("hunter2"), "{log}");
    // Of no process, in its arguments.
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&arguments).contains("=hunter2"), "{process:?}");
    }
    // Nor in a dump of the supervisor, wherever that goes.
    let limits = format!("/proc/{}/limits", instance.status()["pid"]);
    let limits = std::fs::read_to_string(limits).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("1"), "{core}");
}

fn variables_come_from_files_and_stdin() {
    let instance = Instance::start(&Options::default());
    let scratch = instance.scratch();
    let file = write(&scratch, "tells.py", TELLS);
    let variables = write(&scratch, "f.env", "# all\nA=from file\nB=\"quoted\"\nC=c\n");
    let key = write(&scratch, "key.pem", "line one\nline two\n");
    let (secret, variables) = (format!("KEY=@{}", key.display()), variables.to_str().unwrap());
    let deploy = ["deploy", "f", file.to_str().unwrap(), "--env-file", variables];
    let flags = ["--set", "C=said", "--secret", &secret, "--secret", "STDIN=-"];
    let output = instance.call_with(&[deploy.as_slice(), &flags].concat(), "from stdin\n");
    assert_eq!(output.code, 0, "{output:?}");
    let result = instance.invoke("f", &json!(["A", "B", "C", "KEY", "STDIN"]))["result"].clone();
    let expected = json!({
        "A": "from file", "B": "\"quoted\"", "C": "said", "KEY": "line one\nline two",
        "STDIN": "from stdin",
    });
    assert_eq!(result, expected);
    // What may be the secret itself is not repeated.
    for wrong in ["KEY=hunter2", "KEY=@/nowhere/key", "1=@/etc/hostname", "KEY=@"] {
        let output = instance.call(&[&deploy[..3], &["--secret", wrong]].concat());
        assert_eq!(output.code, 2, "{output:?}");
    }
    write(&scratch, "f.env", "A=1\nB B=hunter2\n");
    let output = instance.call(&deploy);
    assert!(output.code == 2 && output.stderr.contains("f.env:2: "), "{output:?}");
    assert!(!output.stderr.contains("hunter2"), "{output:?}");
}

/// Files below a folder that contain a text.
pub fn having(folder: &Path, text: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let found = entries.flat_map(|entry| {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            return having(&path, text);
        }
        let content = std::fs::read(&path).unwrap_or_default();
        let has = content.windows(text.len()).any(|window| window == text.as_bytes());
        if has { vec![path] } else { Vec::new() }
    });
    found.collect()
}

fn state_is_for_root_alone() {
    let instance = Instance::start(&Options::default());
    let code = format!("{TELLS}\nown = 'hunter2'\n");
    instance.deploy("f", &code, &["--set", "TOKEN=hunter2"]);
    instance.ok(&["invoke", "f", "--async", "-d", "[\"hunter2\"]"]);
    let nothing = write(&instance.scratch(), "r.txt", "# nothing\n");
    instance.ok(&["env", "add", "empty", "-r", nothing.to_str().unwrap()]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let record = instance.state().join("functions/f/function.json");
    // As an earlier version has left them.
    let databases = ["catalog.sqlite", "events.sqlite"].map(|name| instance.state().join(name));
    instance.ok(&["down"]);
    for path in databases.iter().chain([&record]) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    instance.up();
    assert_eq!(mode(&record), 0o600);
    let all = std::fs::read_dir(instance.state()).unwrap().flatten().map(|entry| entry.path());
    let is_database = |path: &PathBuf| path.to_str().unwrap().contains(".sqlite");
    let found: Vec<_> = all.filter(is_database).collect();
    assert!(found.len() >= 2, "{found:?}");
    for path in found {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    // Whatever has it, nobody else comes to it.
    for path in having(&instance.state(), "hunter2") {
        let relative = path.strip_prefix(instance.state()).unwrap();
        let folders = relative.ancestors().skip(1).map(|folder| instance.state().join(folder));
        let is_closed = mode(&path).trailing_zeros() >= 6
            || folders.into_iter().any(|folder| mode(&folder).trailing_zeros() >= 6);
        assert!(is_closed, "{} is for everybody", path.display());
    }
}
