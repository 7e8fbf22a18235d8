//! System properties, which a process in a sandbox sees as a plain interpreter does.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Instance, Options};
use crate::tests;

tests!(what_is_read_of_the_system_is_what_a_plain_interpreter_reads, names_of_the_host_are_kept);

const SYSTEM: &str = include_str!("system.py");

fn what_is_read_of_the_system_is_what_a_plain_interpreter_reads() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "tools", "psutil", "six", "idna"]);
    instance.deploy("system", SYSTEM, &["--env", "tools", "--timeout", "60"]);
    let script = instance.scratch().join("system.py");
    let python = instance.mount().join("envs/tools/bin/python");
    let output = Command::new(python).args(["-I", "-X", "utf8"]).arg(script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let plain: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ask = |tier: &str| {
        let answer = instance.invoke("system", &json!({}));
        assert_eq!(answer["tier"], tier, "{answer}");
        assert_eq!(answer["result"][1], json!({}), "{answer}");
        assert_eq!(answer["result"][0], plain, "from {tier}");
    };
    ask("ssd");
    instance.await_zygotes();
    instance.ok(&["evict", "--paused"]);
    ask("zygote");
    ask("paused");
}

/// In the host's network a sandbox resolves the host's names as the host does, besides its own.
fn names_of_the_host_are_kept() {
    let instance = Instance::start(&Options::default());
    let code = "
import socket
def handler(event):
    return [open('/etc/hosts').read(), socket.gethostbyname(socket.gethostname())]
";
    instance.deploy("names", code, &["--network", "host"]);
    let host = std::fs::read_to_string("/etc/hosts").unwrap();
    for tier in ["cold", "zygote"] {
        let answer = instance.invoke("names", &json!({}));
        assert_eq!((&answer["tier"], &answer["result"][1]), (&json!(tier), &json!("127.0.1.1")));
        assert!(answer["result"][0].as_str().unwrap().starts_with(&host), "{answer}");
        instance.await_zygotes();
        instance.ok(&["evict", "--paused"]);
    }
}
