//! Encryption of stored secrets: with a key, with a new key, and through kills.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::secrets::having;
use crate::harness::{Instance, Options, folder, write};
use crate::tests;

tests!(
    nothing_stored_tells_a_secret_where_a_key_is_given,
    a_wrong_key_is_said_and_loses_nothing,
    keys_take_over_from_each_other_and_from_none,
    a_kill_while_keys_change_loses_nothing,
);

const TELLS: &str = "
import os
def handler(event):
    if event: raise ValueError(event)
    return os.environ['TOKEN']
";

/// Keys and the configuration file that names them.
struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    fn new() -> Self {
        let keys = Self { folder: folder() };
        for (name, byte) in [("one", 1_u8), ("two", 2)] {
            let path = keys.path(name);
            fs::write(&path, [byte; 32]).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        keys.say("");
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration file, which is read at the next start.
    fn say(&self, text: &str) {
        fs::write(self.path("config.toml"), text).unwrap();
    }

    /// Configures the current key, and the old one if any.
    fn give(&self, current: &str, old: Option<&str>) {
        let named = |name: &str| format!("\"{}\"", self.path(name).display());
        let (current, old) = (named(current), old.map(named).unwrap_or_default());
        self.say(&format!("[secrets]\nkey_file = {current}\nold_key_files = [{old}]\n"));
    }

    fn options(&self) -> Options {
        let config = self.path("config.toml").to_str().unwrap().to_owned();
        Options { variables: vec![("PIPSQUEAK_CONFIG", config)], ..Options::default() }
    }
}

fn token(instance: &Instance, function: &str) -> serde_json::Value {
    instance.invoke(function, &json!(null))["result"].clone()
}

fn record(instance: &Instance, function: &str) -> PathBuf {
    instance.state().join("functions").join(function).join("function.json")
}

/// The name of the key that a record is encrypted with.
fn key_of(record: &Path) -> Vec<u8> {
    let stored = fs::read(record).unwrap();
    assert!(stored.starts_with(b"\0PQS\x01"), "{} is not encrypted", record.display());
    stored[5..13].to_owned()
}

fn nothing_stored_tells_a_secret_where_a_key_is_given() {
    let keys = Keys::new();
    keys.give("one", None);
    let instance = Instance::start(&keys.options());
    let scratch = instance.scratch();
    let secret = write(&scratch, "secret", "hunter2 from a file");
    let variables = write(&scratch, "f.env", "OTHER=hunter2 from a list\n");
    let secret = format!("SECRET=@{}", secret.display());
    let flags = ["--set", "TOKEN=hunter2", "--secret", &secret, "--retries", "0"];
    instance.deploy(
        "f",
        TELLS,
        &[&flags[..], &["--env-file", variables.to_str().unwrap()]].concat(),
    );
    assert_eq!(token(&instance, "f"), "hunter2");
    let check = |when: &str| {
        let found = having(&instance.state(), "hunter2");
        // What a function says of its own accord is its log, which is not encrypted.
        let logs = instance.state().join("logs");
        let found: Vec<_> = found.iter().filter(|path| !path.starts_with(&logs)).collect();
        assert!(found.is_empty(), "{when}: {found:?}");
    };
    // One that waits, one that has failed for good and one that is done.
    instance.ok(&["invoke", "f", "--async", "-d", "null"]);
    instance.ok(&["invoke", "f", "--async", "-d", "\"hunter2 of an event\""]);
    crate::harness::eventually("the event is dead", || instance.status()["events"]["dead"] == 1);
    check("while it serves");
    let slow = "import time\ndef handler(event): time.sleep(3)\n";
    instance.deploy("slow", slow, &["--sandboxes", "1", "--set", "TOKEN=hunter2"]);
    for _ in 0..2 {
        instance.ok(&["invoke", "slow", "--async", "-d", "\"hunter2 that waits\""]);
    }
    check("with events that wait");
    instance.ok(&["functions", "rm", "slow"]);
    instance.ok(&["down"]);
    check("at rest");
    instance.up();
    assert_eq!(token(&instance, "f"), "hunter2");
    let events = instance.json(&["events", "ls", "--dead", "--json"]);
    let id = events[0]["id"].as_str().unwrap().to_owned();
    let shown = instance.json(&["events", "show", &id, "--json"]);
    assert_eq!(shown["payload"], "hunter2 of an event");
    assert_eq!(shown["error"]["errorMessage"], "hunter2 of an event");
}

fn a_wrong_key_is_said_and_loses_nothing() {
    let keys = Keys::new();
    keys.give("one", None);
    let instance = Instance::start(&keys.options());
    instance.deploy("f", TELLS, &["--set", "TOKEN=hunter2", "--retries", "0"]);
    instance.ok(&["invoke", "f", "--async", "-d", "1"]);
    crate::harness::eventually("the event is dead", || instance.status()["events"]["dead"] == 1);
    instance.ok(&["down"]);
    let stored = fs::read(record(&instance, "f")).unwrap();
    let refused = |says: &str| {
        let output = instance.call(&["up"]);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains(says), "{says}: {output:?}");
        assert!(!output.stderr.contains("hunter2") && !output.stderr.contains("\\x01"));
        assert_eq!(fs::read(record(&instance, "f")).unwrap(), stored);
    };
    keys.say("");
    refused("the record of function f is encrypted with the key ");
    keys.give("two", None);
    refused("give the file of that key as `key_file` or in `old_key_files` of [secrets]");
    keys.give("nowhere", None);
    refused("reading the key file ");
    fs::set_permissions(keys.path("one"), Permissions::from_mode(0o644)).unwrap();
    keys.give("one", None);
    refused("is open to other users than root");
    fs::set_permissions(keys.path("one"), Permissions::from_mode(0o600)).unwrap();
    keys.say("[secrets]\nkey_file = \"AAAA hunter2\"\n");
    refused("config.toml:2: a key file is an absolute path");
    keys.give("one", None);
    instance.up();
    assert_eq!(token(&instance, "f"), "hunter2");
    assert_eq!(instance.status()["events"]["dead"], 1);
}

fn keys_take_over_from_each_other_and_from_none() {
    let keys = Keys::new();
    let instance = Instance::start(&keys.options());
    instance.deploy("f", TELLS, &["--set", "TOKEN=hunter2"]);
    instance.ok(&["invoke", "f", "--async", "-d", "\"hunter2\""]);
    let again = || {
        instance.ok(&["down"]);
        instance.up();
        assert_eq!(token(&instance, "f"), "hunter2");
        let found = having(&instance.state(), "hunter2");
        found.into_iter().filter(|path| !path.starts_with(instance.state().join("logs"))).count()
    };
    assert!(again() > 0);
    keys.give("one", None);
    assert_eq!(again(), 0);
    let first = key_of(&record(&instance, "f"));
    keys.give("two", Some("one"));
    assert_eq!(again(), 0);
    let second = key_of(&record(&instance, "f"));
    assert_ne!(first, second);
    // As systemd gives them, which is shown by their paths.
    keys.say("");
    fs::rename(keys.path("one"), keys.path("pipsqueak.key")).unwrap();
    fs::rename(keys.path("two"), keys.path("pipsqueak.old-key")).unwrap();
    instance.ok(&["down"]);
    let credentials = keys.path("");
    let up = instance.command().arg("up").env("CREDENTIALS_DIRECTORY", credentials).output();
    assert!(up.as_ref().unwrap().status.success(), "{up:?}");
    assert_eq!(token(&instance, "f"), "hunter2");
    assert_eq!(key_of(&record(&instance, "f")), first);
    let shown = instance.ok(&["config", "show"]);
    assert!(shown.contains("pipsqueak.key"), "{shown}");
    // Without a key that encrypts, the one before decrypts.
    let path = keys.path("pipsqueak.key");
    keys.say(&format!("[secrets]\nold_key_files = [\"{}\"]\n", path.display()));
    assert!(again() > 0);
    keys.say("");
    assert!(again() > 0);
}

fn a_kill_while_keys_change_loses_nothing() {
    let keys = Keys::new();
    keys.give("one", None);
    let instance = Instance::start(&keys.options());
    let names: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
    for name in &names {
        instance.deploy(name, TELLS, &["--set", &format!("TOKEN={name} hunter2")]);
    }
    instance.ok(&["down"]);
    let records: Vec<_> = names.iter().map(|name| record(&instance, name)).collect();
    let in_use = || records.iter().map(|record| key_of(record)).collect::<Vec<_>>();
    let (mut current, mut old) = ("two", "one");
    for round in 0..4 {
        let before = in_use();
        keys.give(current, Some(old));
        let mut supervisor = instance.command();
        let mut supervisor = supervisor.args(["up", "--foreground"]).spawn().unwrap();
        // Somewhere from its first change on.
        crate::harness::eventually("the first record is written", || in_use() != before);
        std::thread::sleep(Duration::from_millis(round * 2));
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
        let changed = in_use().iter().zip(&before).filter(|(now, then)| now != then).count();
        eprintln!("killed after {changed} of {} records", records.len());
        (current, old) = (old, current);
    }
    keys.give(current, Some(old));
    instance.up();
    for name in &names {
        assert_eq!(token(&instance, name), format!("{name} hunter2"));
    }
    instance.ok(&["down"]);
    // Nothing needs the other one any more.
    keys.give(current, None);
    instance.up();
    assert_eq!(having(&instance.state(), "hunter2"), Vec::<PathBuf>::new());
}
