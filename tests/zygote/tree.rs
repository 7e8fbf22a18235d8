//! The choice of zygotes and of the functions that they serve: those that have all of a zygote's packages.

use serde_json::{Value, json};

use super::{index, instance};
use crate::harness::{Index, Instance, Options, eventually, has_ended, kill_9, write};
use crate::tests;

tests!(
    a_zygote_serves_all_who_have_its_packages_and_nobody_else,
    what_functions_really_import_is_imported_for_them,
    explain_says_who_serves_and_why_no_other_does,
    a_tree_is_taken_and_given,
    what_was_learned_outlives_the_supervisor,
    spares_wait_and_are_replaced,
    there_are_no_spares_where_none_are_wanted,
);

/// Packages of one module each. The second imports the first, and the last leaves a mark at the
/// interpreter's start.
const PACKAGES: [(&str, &str); 4] = [
    ("alpha", "import os\nbirth = os.getpid()\n"),
    ("beta", "import alpha, os\nbirth = os.getpid()\n"),
    ("gamma", "import os\nbirth = os.getpid()\n"),
    ("started.pth", "import sys; sys.started = 'by pth'"),
];

/// Code of a function that tells which of its modules another process has imported.
fn teller(modules: &[&str]) -> String {
    format!(
        "import os, sys\nimport {0}\n\ndef handler(event):\n    told = {{name: sys.modules[name].birth != \
         os.getpid() for name in {1}}}\n    return [told, getattr(sys, 'started', None)]\n",
        modules.join(", "),
        json!(modules)
    )
}

/// Starts an instance with an environment and a function in it for each list of packages.
fn start(index: &Index, functions: &[(&str, &[&str], &[&str])]) -> Instance {
    let instance = instance(index, None, None);
    for (name, packages, modules) in functions {
        instance.ok(&[["env", "add", name].as_slice(), packages].concat());
        instance.deploy(name, &teller(modules), &["--env", name]);
    }
    instance
}

/// Invokes a function in a new process; returns the tier that its start found, and its answer.
fn start_of(instance: &Instance, function: &str) -> (Value, Value) {
    instance.ok(&["evict", "--paused"]);
    let answer = instance.invoke(function, &json!({}));
    assert_eq!(answer["outcome"], "done", "{answer}");
    instance.await_zygotes();
    (answer["tier"].clone(), answer["result"].clone())
}

fn zygotes(instance: &Instance) -> Vec<Value> {
    instance.status()["zygotes"].as_array().unwrap().clone()
}

fn a_zygote_serves_all_who_have_its_packages_and_nobody_else() {
    let index = index(&["six"], &PACKAGES);
    let instance = start(
        &index,
        &[
            ("first", &["alpha"], &["alpha"]),
            ("wider", &["alpha", "gamma", "started"], &["alpha", "gamma"]),
            ("other", &["gamma"], &["gamma"]),
        ],
    );
    assert_eq!(start_of(&instance, "first"), (json!("ssd"), json!([{ "alpha": false }, null])));
    assert_eq!(start_of(&instance, "first"), (json!("zygote"), json!([{ "alpha": true }, null])));
    // It has more than the zygote has seen: what lies beside, and what runs at an interpreter's start.
    let (tier, told) = start_of(&instance, "wider");
    let expected = json!([{ "alpha": true, "gamma": false }, "by pth"]);
    assert_eq!((tier, told), (json!("zygote"), expected));
    // Nothing of what serves the others is its own.
    let (tier, told) = start_of(&instance, "other");
    assert_eq!((tier, told), (json!("ssd"), json!([{ "gamma": false }, null])));
    // By now each has what it needs, and those that have something in common share it.
    for (name, expected) in [
        ("wider", json!([{ "alpha": true, "gamma": true }, "by pth"])),
        ("other", json!([{ "gamma": true }, null])),
    ] {
        let expected = (json!("zygote"), expected);
        eventually("a zygote has all of it", || start_of(&instance, name) == expected);
    }
}

fn what_functions_really_import_is_imported_for_them() {
    let index = index(&["six"], &PACKAGES);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "all", "alpha", "beta", "gamma"]);
    // Nothing in its code tells it.
    let code = "
import importlib, os
module = importlib.import_module('be' + 'ta')
def handler(event): return module.birth != os.getpid()
";
    instance.deploy("hidden", code, &["--env", "all"]);
    assert_eq!(start_of(&instance, "hidden").1, json!(false));
    assert_eq!(start_of(&instance, "hidden"), (json!("zygote"), json!(true)));
    let imported: Vec<_> = zygotes(&instance)
        .iter()
        .flat_map(|zygote| zygote["modules"].as_array().unwrap().clone())
        .collect();
    assert_eq!(imported, ["alpha", "beta"], "gamma is in its environment, and not imported");
}

fn explain_says_who_serves_and_why_no_other_does() {
    let index = index(&["six"], &PACKAGES);
    let instance =
        start(&index, &[("first", &["alpha"], &["alpha"]), ("other", &["gamma"], &["gamma"])]);
    for name in ["first", "other"] {
        start_of(&instance, name);
        start_of(&instance, name);
    }
    let told = instance.json(&["explain", "first", "--json"]);
    assert_eq!(told["learned"], true, "{told}");
    assert_eq!(told["imports"][0]["distribution"], "alpha==1.0", "{told}");
    assert_eq!(told["zygotes"][0]["serves"], true, "{told}");
    assert!(told["zygotes"][0]["saves_us"].as_u64().unwrap() > 0, "{told}");
    let text = instance.ok(&["explain", "first"]);
    for part in
        ["has imported all that it needs; saves", "sees gamma==1.0, which its environment lacks"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(instance.call(&["explain", "nobody"]).code, 4);
    instance.deploy("new", "def handler(event): return 1\n", &[]);
    let output = instance.call(&["explain", "new"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("has no environment yet"), "{output:?}");
}

fn a_tree_is_taken_and_given() {
    let index = index(&["six"], &PACKAGES);
    let functions: [(&str, &[&str], &[&str]); 1] =
        [("first", &["alpha", "beta", "gamma"], &["beta"])];
    let instance = start(&index, &functions);
    // As OpenLambda writes trees; its packages bring what they need.
    let given = r#"{"packages": [], "children": [{"packages": ["beta"], "children": []}]}"#;
    let file = write(&instance.scratch(), "tree.json", given);
    let said = instance.ok(&["zygotes", "import", file.to_str().unwrap()]);
    assert_eq!(said.trim(), "starting 2 zygotes");
    instance.await_zygotes();
    let (tier, told) = start_of(&instance, "first");
    assert_eq!((tier, told), (json!("zygote"), json!([{ "beta": true }, null])));
    let tree = instance.ok(&["zygotes", "tree"]);
    assert!(tree.lines().any(|line| line.starts_with("  ") && line.ends_with(": beta")), "{tree}");
    let exported = instance.ok(&["zygotes", "export"]);
    instance.ok(&["evict"]);
    assert_eq!(zygotes(&instance), Vec::<Value>::new());
    instance.call_with(&["zygotes", "import", "-"], &exported);
    instance.await_zygotes();
    assert_eq!(start_of(&instance, "first").0, "zygote");
    for (wrong, part) in [
        ("[]", "zygotes"),
        (r#"{"packages": ["nothing"], "children": []}"#, "nothing, which no environment has"),
    ] {
        let output = instance.call_with(&["zygotes", "import", "-"], wrong);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains(part), "{output:?}");
    }
}

fn what_was_learned_outlives_the_supervisor() {
    let index = index(&["six"], &PACKAGES);
    let instance = start(&index, &[("first", &["alpha", "beta"], &["beta"])]);
    start_of(&instance, "first");
    start_of(&instance, "first");
    let modules = |instance: &Instance| {
        let all = zygotes(instance);
        all.iter().filter(|one| one["state"] == "ready").map(|one| one["modules"].clone()).collect()
    };
    let before: Vec<Value> = modules(&instance);
    assert!(!before.is_empty());
    instance.ok(&["down"]);
    instance.up();
    // Nobody has asked for anything.
    eventually("the zygotes are there again", || modules(&instance) == before);
    assert_eq!(start_of(&instance, "first").0, "zygote");
    assert_eq!(instance.json(&["explain", "first", "--json"])["learned"], true);
}

fn spares_wait_and_are_replaced() {
    let index = index(&["six"], &PACKAGES);
    let instance = start(&index, &[("first", &["alpha"], &["alpha"])]);
    start_of(&instance, "first");
    let waiting =
        || zygotes(&instance).iter().filter_map(|one| one["spares"].as_u64()).sum::<u64>();
    eventually("a spare waits", || waiting() > 0);
    assert_eq!(start_of(&instance, "first"), (json!("zygote"), json!([{ "alpha": true }, null])));
    eventually("another has taken its place", || waiting() > 0);
    // One that was killed is no trouble of a function's; one that is not ready yet would be its zygote's.
    instance.ok(&["evict", "--paused"]);
    eventually("all that are made wait", || processes(&instance).len() as u64 == waiting());
    let spares = processes(&instance);
    assert!(!spares.is_empty());
    for process in &spares {
        kill_9(&json!(process));
    }
    eventually("they have ended", || spares.iter().all(|&process| has_ended(process)));
    assert_eq!(start_of(&instance, "first").1, json!([{ "alpha": true }, null]));
    // Each function has its own limits, whoever it was forked ahead for.
    instance.deploy(
        "small",
        "import os\ndef handler(event): return os.statvfs('/tmp').f_blocks * 4096\n",
        &["--env", "first", "--tmp", "8M"],
    );
    assert_eq!(start_of(&instance, "small").1, json!(8 << 20));
}

/// Processes of sandboxes other than zygotes and holders.
fn processes(instance: &Instance) -> Vec<i32> {
    let zygotes: Vec<i64> =
        zygotes(instance).iter().filter_map(|one| one["pid"].as_i64()).collect();
    let mut found = instance.sandboxed();
    found.retain(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("python") && !zygotes.contains(&i64::from(*pid))
    });
    found
}

fn there_are_no_spares_where_none_are_wanted() {
    let instance = Instance::start(&Options {
        variables: vec![("PIPSQUEAK_SPARES", "0".to_owned())],
        ..Options::default()
    });
    instance.deploy("f", "def handler(event): return 1\n", &[]);
    start_of(&instance, "f");
    assert_eq!(start_of(&instance, "f").0, "zygote");
    assert!(zygotes(&instance).iter().all(|one| one["spares"] == 0));
    assert_eq!(instance.call(&["up", "--spares", "many"]).code, 2);
}
