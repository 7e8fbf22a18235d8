//! Sandboxes that the kernel does not let end.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{Instance, Options, eventually};
use crate::tests;

tests!(a_sandbox_that_cannot_be_ended_keeps_its_user);

/// Where v1's freezer is, which holds back SIGKILL. v2's does not.
const FREEZER: &str = "/sys/fs/cgroup/freezer";

/// Where v2 is beside it.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// Processes that are held, until this is dropped.
struct Held(PathBuf);

impl Held {
    fn hold(processes: &[i32]) -> Self {
        let held = Self(Path::new(FREEZER).join(format!("held-{}", processes[0])));
        fs::create_dir(&held.0).unwrap();
        for process in processes {
            fs::write(held.0.join("cgroup.procs"), process.to_string()).unwrap();
        }
        fs::write(held.0.join("freezer.state"), "FROZEN").unwrap();
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        fs::write(self.0.join("freezer.state"), "THAWED").unwrap();
        eventually("what was held has ended", || fs::remove_dir(&self.0).is_ok());
    }
}

/// Whether a process is in a group that v2 has frozen.
fn is_frozen(process: i32) -> bool {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let events = group.map(|path| Path::new(UNIFIED).join(path).join("cgroup.events"));
    events.is_some_and(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("frozen 1")))
}

/// The users on the host that processes of sandboxes run as.
fn users(instance: &Instance) -> Vec<(i32, u32)> {
    let user = |pid| Some((pid, fs::metadata(format!("/proc/{pid}")).ok()?.uid()));
    instance.sandboxed().into_iter().filter_map(user).collect()
}

fn a_sandbox_that_cannot_be_ended_keeps_its_user() {
    if !Path::new(FREEZER).exists() {
        return;
    }
    let instance = Instance::start(&Options { tiers: Some("paused,ssd"), ..Options::default() });
    for name in ["first", "second"] {
        instance.deploy(name, "def handler(event): return event\n", &[]);
    }
    instance.invoke("first", &json!(1));
    let first = users(&instance);
    let processes: Vec<_> = first.iter().map(|(pid, _)| *pid).collect();
    // Not while the supervisor is about to freeze them.
    eventually("it is paused", || processes.iter().all(|process| is_frozen(*process)));
    let held = Held::hold(&processes);
    instance.ok(&["evict", "first"]);
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
