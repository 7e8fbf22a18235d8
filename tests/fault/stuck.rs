//! Sandboxes that the kernel does not let end.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Instance, Options, eventually};
use crate::tests;

tests!(
    a_sandbox_that_cannot_be_ended_keeps_its_user,
    a_call_whose_process_is_held_is_answered_at_its_timeout,
);

/// The freezer of cgroup v1, which holds back SIGKILL; that of v2 does not.
const FREEZER: &str = "/sys/fs/cgroup/freezer";

/// The mount of cgroup v2 beside v1.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// Processes that are held until this is dropped.
struct Held(PathBuf);

impl Held {
    fn hold(processes: &[i32]) -> Self {
        let held = Self(Path::new(FREEZER).join(format!("held-{}", processes[0])));
        fs::create_dir(&held.0).unwrap();
        for process in processes {
            fs::write(held.0.join("cgroup.procs"), process.to_string()).unwrap();
        }
        let state = held.0.join("freezer.state");
        fs::write(&state, "FROZEN").unwrap();
        // Before that they may still be ended.
        eventually("all are held", || fs::read_to_string(&state).unwrap().trim() == "FROZEN");
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        fs::write(self.0.join("freezer.state"), "THAWED").unwrap();
        eventually("what was held has ended", || fs::remove_dir(&self.0).is_ok());
    }
}

/// True if a process is in a group that v2 has frozen.
fn is_frozen(process: i32) -> bool {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let events = group.map(|path| Path::new(UNIFIED).join(path).join("cgroup.events"));
    events.is_some_and(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("frozen 1")))
}

/// Processes of sandboxes, each with its user on the host.
fn users(instance: &Instance) -> Vec<(i32, u32)> {
    let user = |pid| Some((pid, fs::metadata(format!("/proc/{pid}")).ok()?.uid()));
    instance.sandboxed().into_iter().filter_map(user).collect()
}

/// Starts an instance with a function `first` that sleeps for the seconds in its event, with a
/// timeout of 3 s.
fn sleeper() -> Option<Instance> {
    if !Path::new(FREEZER).exists() {
        return None;
    }
    let instance = Instance::start(&Options { tiers: Some("paused,ssd"), ..Options::default() });
    let code = "import time\n\ndef handler(event):\n    time.sleep(event)\n    return event\n";
    instance.deploy("first", code, &["--timeout", "3"]);
    assert_eq!(instance.invoke("first", &json!(0))["result"], 0);
    Some(instance)
}

/// Calls `first` and holds its processes in the midst of the call; returns the call's answer.
fn call_and_hold(instance: &Instance) -> (Held, Vec<(i32, u32)>, Value) {
    let users = users(instance);
    let processes: Vec<_> = users.iter().map(|(pid, _)| *pid).collect();
    eventually("it is paused", || processes.iter().all(|process| is_frozen(*process)));
    let mut call = instance.command();
    call.args(["invoke", "first", "-d", "60", "--json"]).stdout(Stdio::piped());
    let call = call.spawn().unwrap();
    eventually("it runs", || processes.iter().all(|process| !is_frozen(*process)));
    let held = Held::hold(&processes);
    let answer = call.wait_with_output().unwrap().stdout;
    (held, users, serde_json::from_slice(&answer).unwrap())
}

fn a_sandbox_that_cannot_be_ended_keeps_its_user() {
    let Some(instance) = sleeper() else { return };
    instance.deploy("second", "def handler(event): return event\n", &[]);
    let (held, first, _) = call_and_hold(&instance);
    let processes: Vec<_> = first.iter().map(|(pid, _)| *pid).collect();
    let log = instance.run().join("pipsqueakd.log");
    eventually("it could not be ended", || {
        fs::read_to_string(&log).unwrap().contains("taking a sandbox down; trying again")
    });
    assert_eq!(instance.invoke("second", &json!(2))["result"], 2);
    // Holders have the same user.
    let shared = |user: &u32| first.iter().filter(|(_, other)| other == user).count();
    let second = users(&instance).into_iter().filter(|(pid, _)| !processes.contains(pid));
    let both = second.filter(|(_, user)| shared(user) > 0).count();
    assert_eq!((first.len(), both), (2, 1));
    drop(held);
    eventually("nothing of the first is left", || {
        instance.sandboxed().iter().all(|pid| !processes.contains(pid))
    });
}

fn a_call_whose_process_is_held_is_answered_at_its_timeout() {
    let Some(instance) = sleeper() else { return };
    let (_held, _, answer) = call_and_hold(&instance);
    assert_eq!(answer["error"]["errorType"], "Runtime.Timeout", "{answer}");
    // Another process serves the next.
    assert_eq!(instance.invoke("first", &json!(0))["result"], 0);
}
