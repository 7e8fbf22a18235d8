//! What packages do in a zygote to get into the sandboxes of its children.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Attacked, wheel};
use crate::harness::{Index, eventually};
use crate::tests;

tests!(no_package_has_a_capability_in_a_zygotes_children, holders_have_no_variables,);

const INTRUDER: &str = include_str!("intruder.py");

const WELCOMING: &str = "
import time
import intruder

def handler(event):
    time.sleep(event)
    return intruder.found
";

/// The folder of a sandbox's root, as the host sees it by a process in it.
fn root_of(pid: &Value) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root"))
}

/// What was found in the sandbox of the zygote that has imported something.
fn report(zygote: &Value) -> Vec<Value> {
    let root = root_of(&zygote["pid"]);
    eventually("the helper is done", || root.join("tmp/over").exists());
    let text = std::fs::read_to_string(root.join("tmp/report")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn zygote(attacked: &Attacked) -> Value {
    let zygotes = attacked.instance.status()["zygotes"].clone();
    let has_imported = |zygote: &&Value| zygote["modules"].to_string().contains("intruder");
    zygotes.as_array().unwrap().iter().find(has_imported).unwrap().clone()
}

fn no_package_has_a_capability_in_a_zygotes_children() {
    let index = Index::start(&["six"], &[], None);
    index.add("intruder-1.0-py3-none-any.whl", &wheel("intruder", INTRUDER));
    let attacked = Attacked::from(&index);
    let instance = &attacked.instance;
    instance.ok(&["env", "add", "entered", "intruder"]);
    instance.deploy("welcoming", WELCOMING, &["--env", "entered", "--timeout", "30"]);
    instance.invoke("welcoming", &json!(0));
    let in_child = attacked.forked("welcoming", &json!(4))["result"].clone();
    let in_zygote = report(&zygote(&attacked));
    let attempts: Vec<_> = in_zygote.iter().chain(in_child.as_array().unwrap()).collect();
    let tried = |what: &str| attempts.iter().any(|attempt| attempt[0].as_str().unwrap() == what);
    for what in [
        "fork",
        "setresuid",
        "read environ of a child",
        "read memory of a child",
        "signal a child",
        "setns 7e020000",
        "passage at 0, blocked: true",
        "passage at 0, blocked: false",
    ] {
        assert!(tried(what), "{what} was not tried: {attempts:?}");
    }
    let succeeded: Vec<_> =
        attempts.iter().filter(|attempt| attempt[3] != 0 || attempt[1] == "done").collect();
    assert!(succeeded.is_empty(), "{succeeded:#?}");
    attacked.serves_others();
}

/// What whoever started the supervisor has told it is nobody else's.
fn holders_have_no_variables() {
    let attacked = Attacked::start();
    attacked.serves_others();
    attacked.instance.await_zygotes();
    let zygotes = attacked.instance.status()["zygotes"].clone();
    let pid = &zygotes[0]["pid"];
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let inside = namespace(&pid.to_string());
    let all = std::fs::read_dir("/proc").unwrap();
    let mut holders = 0;
    for process in all {
        let process = process.unwrap().file_name().into_string().unwrap();
        let Ok(name) = std::fs::read_to_string(format!("/proc/{process}/comm")) else { continue };
        if name == "holder\n" && namespace(&process) == inside {
            holders += 1;
            let variables = std::fs::read(format!("/proc/{process}/environ")).unwrap();
            assert_eq!(String::from_utf8_lossy(&variables), "");
        }
    }
    assert_eq!(holders, 1);
}
