//! Zygotes with useless children: functions start without them, and they are not made again and again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{index, instance};
use crate::harness::{Instance, Options, eventually, has_ended};
use crate::tests;

tests!(
    children_that_end_cost_a_few_zygotes_and_no_answer,
    children_that_hang_are_waited_for_once,
    a_zygote_that_is_evicted_ends_while_its_child_serves,
);

/// The code of a package that does something in children, from the fork number `first` on.
fn package(first: u32, does: &str) -> String {
    format!(
        "
import os, time
forks = 0

def before():
    global forks
    forks += 1

def after():
    if forks >= {first}:
        {does}

os.register_at_fork(before=before, after_in_child=after)
"
    )
}

const USER: &str = "
import os
import spoiling

def handler(event):
    return event
";

fn a_zygote_that_is_evicted_ends_while_its_child_serves() {
    let instance = Instance::start(&Options::default());
    let code = "import time\n\ndef handler(event):\n    time.sleep(event)\n    return event\n";
    instance.deploy("slow", code, &[]);
    instance.invoke("slow", &json!(0));
    instance.await_zygotes();
    instance.ok(&["evict", "--paused"]);
    let mut command = instance.command();
    command.args(["invoke", "slow", "-d", "5", "--json"]);
    let mut running = command.stdout(Stdio::piped()).spawn().unwrap();
    eventually("it runs", || instance.status()["sandboxes"][0]["state"] == "running");
    let zygote = i32::try_from(zygotes(&instance)[0]["pid"].as_i64().unwrap()).unwrap();
    instance.ok(&["evict", "--zygotes"]);
    eventually("the zygote has ended", || has_ended(zygote));
    assert_eq!(running.try_wait().unwrap(), None, "the function has ended first");
    let output = running.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["result"], &answer["tier"]), (&json!(5), &json!("zygote")), "{answer}");
}

/// Starts an instance with a function that imports a package of this code.
fn start(code: &str) -> Instance {
    let index = index(&["six"], &[("spoiling", code)]);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "spoiled", "spoiling"]);
    instance.deploy("user", USER, &["--env", "spoiled"]);
    instance
}

/// Starts the function anew, which must answer.
fn call(instance: &Instance, event: u64) {
    instance.ok(&["evict", "--paused"]);
    let answer = instance.invoke("user", &json!(event));
    assert_eq!(
        (&answer["outcome"], &answer["result"]),
        (&json!("done"), &json!(event)),
        "{answer}"
    );
}

fn zygotes(instance: &Instance) -> Vec<Value> {
    instance.status()["zygotes"].as_array().unwrap().clone()
}

/// Waits until a zygote has failed, and checks that `zygotes ls` and `explain` tell the reason.
fn await_reason(instance: &Instance, why: &str) {
    eventually(&format!("a zygote has failed: {why}"), || {
        zygotes(instance).iter().any(|one| {
            one["state"] == "failed" && one["reason"].as_str().unwrap_or_default().contains(why)
        })
    });
    let failed = zygotes(instance).iter().filter(|one| one["state"] == "failed").count();
    assert_eq!(failed, 1, "{:?}", zygotes(instance));
    let listed = instance.ok(&["zygotes", "ls"]);
    assert!(listed.contains(why), "{listed}");
    let explained = instance.ok(&["explain", "user"]);
    assert!(explained.contains("has failed") && explained.contains(why), "{explained}");
}

fn children_that_end_cost_a_few_zygotes_and_no_answer() {
    for (first, why) in [
        (1, "its children fail: ended with wait status 768"),
        (2, "the zygote's child exited with status 3 before it was of use"),
        (3, "the zygote's child exited with status 3 before it was of use"),
    ] {
        let instance = start(&package(first, "os._exit(3)"));
        let began = Instant::now();
        let mut calls = 0;
        while began.elapsed() < Duration::from_secs(8) {
            call(&instance, calls);
            calls += 1;
        }
        // After 1, 2 and 4 seconds, each time with the interpreter alone that it is forked from at most.
        let made = zygotes(&instance).iter().filter_map(|one| one["id"].as_u64()).max();
        assert!(calls >= 8 && made.is_some_and(|made| made <= 10), "{calls} calls, {made:?}");
        await_reason(&instance, why);
    }
}

fn children_that_hang_are_waited_for_once() {
    for (first, why) in [
        (1, "the zygote did not fork for a trial within 10s"),
        (2, "the zygote did not have a child of use within 10s"),
    ] {
        let instance = start(&package(first, "time.sleep(10 ** 6)"));
        call(&instance, 0);
        std::thread::sleep(Duration::from_secs(1));
        let began = Instant::now();
        call(&instance, 1);
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        await_reason(&instance, why);
        let began = Instant::now();
        call(&instance, 2);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
