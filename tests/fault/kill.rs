//! `kill -9` of each process: the work that goes on, and the leftovers that the next `up` clears.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{
    Instance, Options, command_on_mount, drop_caches, eventually, has_ended, kill_9,
};
use crate::tests;

tests!(
    imports_survive_the_death_of_the_mounts_server,
    names_and_listings_are_right_after_a_succession,
    a_killed_supervisor_takes_everything_with_it,
    a_stale_mount_is_cleared_by_the_next_up,
    a_killed_zygote_is_replaced,
    a_killed_function_is_no_loss,
);

fn imports_survive_the_death_of_the_mounts_server() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "science", "pandas"]);
    let python = instance.mount().join("envs/science/bin/python");
    for round in 1..=6 {
        drop_caches();
        let imports: Vec<_> = (0..2)
            .map(|_| {
                command_on_mount(&python)
                    .args(["-c", "import pandas; print(pandas.Series([1, 2]).sum())"])
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        std::thread::sleep(Duration::from_millis(60 * round));
        kill_9(&instance.status()["mount"]["pid"]);
        for import in imports {
            let output = import.wait_with_output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "3\n", "{output:?}");
        }
        eventually("a successor serves", || instance.status()["mount"]["successions"] == round);
    }
}

fn names_and_listings_are_right_after_a_succession() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "first", "six"]);
    let names = || {
        let entries = std::fs::read_dir(instance.mount().join("envs")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["first"]);
    kill_9(&instance.status()["mount"]["pid"]);
    assert_eq!(names(), ["first"]);
    instance.ok(&["env", "add", "second", "idna"]);
    assert_eq!(names(), ["first", "second"]);
    kill_9(&instance.status()["mount"]["pid"]);
    instance.ok(&["env", "rm", "first"]);
    assert_eq!(names(), ["second"]);
    assert!(!instance.mount().join("envs/first/bin").exists());
    let six = instance.mount().join("envs/second/lib/python3.11/site-packages/idna/core.py");
    assert!(std::fs::read_to_string(six).unwrap().contains("def "));
}

fn a_killed_supervisor_takes_everything_with_it() {
    let instance = Instance::start(&Options::default());
    instance.deploy("kept", "def handler(event): return 1\n", &[]);
    instance.invoke("kept", &json!({}));
    instance.await_zygotes();
    let mut footprint = instance.footprint();
    kill_9(&instance.status()["pid"]);
    // Its control groups are left for the next `up`, which finds and removes them.
    footprint.groups.clear();
    crate::harness::wait_until_gone(&footprint);
    assert_eq!(instance.call(&["invoke", "kept"]).code, 3);
    instance.up();
    assert_eq!(instance.invoke("kept", &json!({}))["result"], 1);
}

fn a_stale_mount_is_cleared_by_the_next_up() {
    let instance = Instance::start(&Options::default());
    instance.deploy("kept", "def handler(event): return 1\n", &[]);
    instance.invoke("kept", &json!({}));
    instance.ok(&["env", "add", "named", "six"]);
    let footprint = instance.footprint();
    // All at once, so that none can clean up after another. Some end with those before them.
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        for pid in &footprint.processes {
            let _ = kill(Pid::from_raw(*pid), signal);
        }
    }
    eventually("the mount is stale", || {
        // Not a listing: the kernel still knows that one.
        let error = std::fs::metadata(instance.mount().join("not asked for yet")).unwrap_err();
        error.kind() == std::io::ErrorKind::NotConnected
    });
    instance.up();
    assert_eq!(instance.invoke("kept", &json!({}))["result"], 1);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let place = instance.mount();
    // Itself, and the overlay of the one environment that has a name.
    assert_eq!(mounts.matches(&format!(" {} ", place.display())).count(), 1, "{mounts}");
    assert_eq!(mounts.matches(place.to_str().unwrap()).count(), 2, "{mounts}");
    assert!(std::fs::read_dir(place.join("envs/named/lib")).unwrap().count() == 1);
}

fn a_killed_zygote_is_replaced() {
    let instance = Instance::start(&Options::default());
    instance.deploy("child", "def handler(event): return 1\n", &[]);
    instance.invoke("child", &json!({}));
    instance.await_zygotes();
    instance.ok(&["evict", "--paused"]);
    assert_eq!(instance.invoke("child", &json!({}))["tier"], "zygote");
    let zygote = instance.status()["zygotes"][0]["pid"].clone();
    kill_9(&zygote);
    // What was forked from it lives on.
    assert_eq!(instance.invoke("child", &json!({}))["tier"], "paused");
    instance.ok(&["evict", "--paused"]);
    assert_eq!(instance.invoke("child", &json!({}))["result"], 1);
    eventually("another has taken its place", || {
        let found = instance.status()["zygotes"][0].clone();
        found["state"] == "ready" && found["pid"] != zygote
    });
    instance.ok(&["evict", "--paused"]);
    assert_eq!(instance.invoke("child", &json!({}))["tier"], "zygote");
}

fn a_killed_function_is_no_loss() {
    let instance = Instance::start(&Options::default());
    instance.deploy("victim", "def handler(event): return event\n", &[]);
    assert_eq!(instance.invoke("victim", &json!(1))["result"], 1);
    let pid = instance.status()["sandboxes"][0]["pid"].clone();
    kill_9(&pid);
    // A signal is on its way for a while where the machine is busy.
    eventually("it has ended", || has_ended(i32::try_from(pid.as_i64().unwrap()).unwrap()));
    let answer = instance.invoke("victim", &json!(2));
    assert_eq!(answer["result"], 2, "{answer}");
}
