//! Instances, environments and functions come, change and go.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{Instance, Options, eventually};
use crate::tests;

tests!(
    a_second_up_is_refused,
    a_stale_socket_is_no_obstacle,
    without_a_supervisor,
    down_leaves_nothing,
    down_leaves_nothing_of_what_is_just_being_made,
    a_signal_lets_running_functions_answer,
    functions_and_environments_outlive_the_supervisor,
    deploying_again_is_a_new_version,
    environments_come_change_and_go,
    doctor_finds_this_machine_fit,
);

fn a_second_up_is_refused() {
    let instance = Instance::start(&Options::default());
    let pid = instance.status()["pid"].to_string();
    let output = instance.call(&["up"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains(&pid), "{output:?}");
    assert_eq!(instance.status()["pid"].to_string(), pid);
}

fn a_stale_socket_is_no_obstacle() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["down"]);
    // A socket file that nobody listens on any more.
    drop(UnixListener::bind(instance.run().join("supervisor.sock")).unwrap());
    assert_eq!(instance.call(&["status"]).code, 3);
    instance.up();
    instance.status();
}

fn without_a_supervisor() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["down"]);
    let invoke: &[&str] = &["invoke", "x"];
    for arguments in [&["status"], &["down"], invoke, &["env", "ls"], &["functions", "ls"]] {
        let output = instance.call(arguments);
        assert_eq!(output.code, 3, "{arguments:?}: {output:?}");
        assert!(output.stderr.contains("pipsqueak up"), "{output:?}");
    }
    assert_eq!(instance.call(&["no-such-verb"]).code, 2);
}

fn down_leaves_nothing() {
    let instance = Instance::start(&Options::default());
    instance.deploy("kept", "def handler(event): return 1\n", &[]);
    instance.invoke("kept", &json!({}));
    instance.await_zygotes();
    let footprint = instance.footprint();
    assert!(footprint.processes.len() >= 7, "{footprint:?}");
    assert!(!footprint.groups.is_empty() && footprint.mounts.len() == 2, "{footprint:?}");
    assert!(footprint.namespaces.len() >= 14, "{footprint:?}");
    instance.ok(&["down"]);
    crate::harness::wait_until_gone(&footprint);
    let left: Vec<_> = std::fs::read_dir(instance.run()).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == "pipsqueakd.log"), "{left:?}");
}

/// The first start of an environment is followed by the start of its zygote in the background.
fn down_leaves_nothing_of_what_is_just_being_made() {
    let instance = Instance::start(&Options::default());
    instance.deploy("kept", "def handler(event): return 1\n", &[]);
    let footprint = instance.footprint();
    for pause in 0..20 {
        instance.invoke("kept", &json!({}));
        std::thread::sleep(Duration::from_micros(500 * pause));
        instance.ok(&["down"]);
        crate::harness::wait_until_gone(&footprint);
        instance.up();
    }
}

fn a_signal_lets_running_functions_answer() {
    let instance = Instance::start(&Options::default());
    let code = "
import time

def handler(event):
    print('begun', flush=True)
    time.sleep(event)
    return 'done'
";
    instance.deploy("slow", code, &[]);
    instance.invoke("slow", &json!(0));
    let footprint = instance.footprint();
    let pid = i32::try_from(instance.status()["pid"].as_i64().unwrap()).unwrap();
    std::thread::scope(|scope| {
        let calls: Vec<_> =
            (0..2).map(|_| scope.spawn(|| instance.invoke("slow", &json!(1.5)))).collect();
        eventually("both are running", || {
            let status = instance.status();
            let boxes = status["sandboxes"].as_array().unwrap();
            boxes.iter().filter(|sandbox| sandbox["state"] == "running").count() == 2
        });
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        for call in calls {
            assert_eq!(call.join().unwrap()["result"], "done");
        }
    });
    crate::harness::wait_until_gone(&footprint);
}

fn functions_and_environments_outlive_the_supervisor() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "kept", "six"]);
    instance.deploy("kept", "import six\ndef handler(event): return six.PY3\n", &["--env", "kept"]);
    instance.ok(&["down"]);
    instance.up();
    let answer = instance.invoke("kept", &json!({}));
    assert_eq!((&answer["result"], &answer["tier"]), (&json!(true), &json!("ssd")), "{answer}");
}

fn deploying_again_is_a_new_version() {
    let instance = Instance::start(&Options::default());
    instance.deploy("changing", "def handler(event): return 'old'\n", &[]);
    assert_eq!(instance.invoke("changing", &json!({}))["result"], "old");
    instance.deploy("changing", "def handler(event): return 'new'\n", &[]);
    assert_eq!(instance.invoke("changing", &json!({}))["result"], "new");
    assert_eq!(instance.json(&["functions", "show", "changing", "--json"])["version"], 2);
    instance.ok(&["functions", "rm", "changing"]);
    assert_eq!(instance.call(&["invoke", "changing"]).code, 4);
    eventually("its sandboxes are gone", || instance.status()["sandboxes"] == json!([]));
}

fn environments_come_change_and_go() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "tools", "six"]);
    let path = instance.ok(&["env", "path", "tools"]);
    let packages = || {
        let site = format!("{}/lib/python3.11/site-packages", path.trim());
        let mut names: Vec<_> = std::fs::read_dir(site)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.contains("dist-info") && name != "__pycache__")
            .collect();
        names.sort();
        names
    };
    assert_eq!(packages(), ["six.py"]);
    let code = "
import importlib.util

def handler(event):
    return importlib.util.find_spec('six') is not None
";
    instance.deploy("user", code, &["--env", "tools"]);
    assert_eq!(instance.invoke("user", &json!({}))["result"], true);
    instance.ok(&["env", "add", "tools", "idna"]);
    assert_eq!(packages(), ["idna"]);
    // Not even a sandbox that was kept has the old one.
    assert_eq!(instance.invoke("user", &json!({}))["result"], false);
    let shown = instance.json(&["env", "show", "tools", "--json"]);
    assert_eq!(shown["distributions"][0]["name"], "idna");
    let frozen = instance.ok(&["env", "freeze", "tools"]);
    assert!(frozen.starts_with("idna==") && frozen.lines().count() == 1, "{frozen}");
    let used = instance.call(&["env", "rm", "tools"]);
    assert!(used.code == 2 && used.stderr.contains("user"), "{used:?}");
    instance.ok(&["functions", "rm", "user"]);
    instance.ok(&["env", "rm", "tools"]);
    assert!(!instance.mount().join("envs/tools").exists());
    // What zygotes see has no name that is listed.
    let shown = std::fs::read_dir(instance.mount().join("envs")).unwrap();
    let mut names = shown.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.all(|name| name.starts_with('.')));
}

fn doctor_finds_this_machine_fit() {
    let instance = Instance::start(&Options::default());
    let output = instance.call(&["doctor"]);
    assert_eq!(output.code, 0, "{output:?}");
    for about in ["root", "/dev/fuse", "namespaces", "cgroups", "freezer", "python", "uv"] {
        assert!(output.stdout.contains(about), "{about}: {}", output.stdout);
    }
    instance.json(&["doctor", "--json"]);
}
