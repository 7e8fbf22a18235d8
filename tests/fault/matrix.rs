//! Each process is killed in each state of itself or others. Every waiting caller gets an answer or
//! a reason, and later calls are served.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Instance, Options, eventually, has_ended};
use crate::tests;

tests!(
    each_is_killed_while_a_function_runs,
    each_is_killed_while_a_function_is_paused,
    each_is_killed_while_a_spare_waits,
    each_is_killed_while_a_zygote_imports,
    each_is_killed_while_an_environment_is_made,
);

const FUNCTION: &str = "import time, six\n\ndef handler(event):\n    time.sleep(event)\n    \
                        return event\n";

/// A process to kill, by its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The function's own process.
    Function,
    /// Pid 1 of the function's sandbox.
    Holder,
    /// The zygote that the function was, or would be, forked from.
    Zygote,
    /// Pid 1 of the zygote's sandbox.
    ZygotesHolder,
    /// The maker of sandboxes.
    Maker,
    /// The server of the mount.
    Server,
    Supervisor,
}

use Victim::{Function, Holder, Maker, Server, Supervisor, Zygote, ZygotesHolder};

impl Victim {
    /// The number of the process, if there is one now.
    fn find(self, instance: &Instance) -> Option<i32> {
        let status = instance.status();
        let number = |value: &Value| value.as_i64().and_then(|pid| i32::try_from(pid).ok());
        let function = || number(&status["sandboxes"][0]["pid"]).filter(|pid| *pid > 0);
        let zygote = || {
            let zygotes = status["zygotes"].as_array()?;
            let serves = |one: &&Value| one["state"] == "ready" && one["modules"] != json!([]);
            number(&zygotes.iter().find(serves).or(zygotes.first())?["pid"])
        };
        match self {
            Function => function(),
            Holder => holder_of(instance, function()?),
            Zygote => zygote(),
            ZygotesHolder => holder_of(instance, zygote()?),
            Maker => command_line(|line| {
                line.contains("make-sandboxes") && line.contains(instance.group().unwrap())
            }),
            Server => number(&status["mount"]["pid"]),
            Supervisor => number(&status["pid"]),
        }
    }

    /// Waits for the process and kills it; returns its number.
    fn kill(self, instance: &Instance) -> i32 {
        let mut found = None;
        eventually(&format!("there is a process: {self:?}"), || {
            found = self.find(instance);
            found.is_some()
        });
        let pid = found.unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        eventually(&format!("it has ended: {self:?}"), || has_ended(pid));
        pid
    }

    /// Starts a killed supervisor again, which nobody but a user does.
    fn mend(self, instance: &Instance) {
        if self == Supervisor {
            instance.up();
        }
    }
}

/// Pid 1 of the sandbox that a process is in.
fn holder_of(instance: &Instance, pid: i32) -> Option<i32> {
    let group = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
    let own = group(pid)?;
    let name = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let mut all = instance.sandboxed().into_iter();
    all.find(|other| name(*other).trim() == "holder" && group(*other).as_ref() == Some(&own))
}

fn command_line(is_it: impl Fn(&str) -> bool) -> Option<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid: &i32| {
        let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
        let line = String::from_utf8_lossy(&line.unwrap_or_default()).replace('\0', " ");
        // Its forks, holders among them, have the same.
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        is_it(&line) && name.trim() == "pipsqueakd"
    })
}

fn started() -> Instance {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "small", "six"]);
    instance.deploy("f", FUNCTION, &["--env", "small"]);
    instance
}

/// Waits until the function is forked from a zygote with its imports, and paused.
fn forked(instance: &Instance) {
    eventually("it is forked from a zygote", || {
        instance.ok(&["evict", "--paused"]);
        let answer = instance.invoke("f", &json!(0));
        // One that was killed has failed, and is made again after a pause.
        instance.await_growth();
        answer["tier"] == "zygote"
    });
}

fn invocation(instance: &Instance, seconds: f64) -> Child {
    let mut command = instance.command();
    command.args(["invoke", "f", "-d", &seconds.to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Invokes the function again, which must be answered whatever has happened.
fn serves(instance: &Instance, victim: Victim) {
    let answer = instance.invoke("f", &json!(0));
    assert_eq!(answer["result"], 0, "{victim:?}: {answer}");
    instance.ok(&["evict", "--paused"]);
    let answer = instance.invoke("f", &json!(0));
    assert_eq!(answer["result"], 0, "{victim:?}: {answer}");
}

fn each_is_killed_while_a_function_runs() {
    let instance = started();
    for (victim, code) in [
        (Function, 1),
        (Holder, 1),
        (Zygote, 0),
        (ZygotesHolder, 1),
        (Maker, 0),
        (Server, 0),
        (Supervisor, 70),
    ] {
        forked(&instance);
        // One that is to be ended runs until then, however long it takes to find the victim.
        let running = invocation(&instance, if code == 0 { 2.0 } else { 25.0 });
        eventually("it runs", || instance.status()["sandboxes"][0]["state"] == "running");
        victim.kill(&instance);
        let output = running.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{victim:?}: {output:?}");
        assert_eq!(output.stderr.is_empty(), code == 0, "{victim:?}: {output:?}");
        victim.mend(&instance);
        serves(&instance, victim);
    }
}

fn each_is_killed_while_a_function_is_paused() {
    let instance = started();
    for victim in [Function, Holder, Zygote, ZygotesHolder, Maker, Server, Supervisor] {
        forked(&instance);
        assert_eq!(instance.status()["sandboxes"][0]["state"], "paused");
        let function = Function.find(&instance).unwrap();
        victim.kill(&instance);
        // The end of a sandbox's first process comes a moment ahead of that of the others in it.
        if matches!(victim, Holder | ZygotesHolder) {
            eventually("the function has ended", || has_ended(function));
        }
        victim.mend(&instance);
        serves(&instance, victim);
    }
}

fn each_is_killed_while_a_spare_waits() {
    let instance = started();
    for victim in [Zygote, ZygotesHolder, Maker, Server, Supervisor] {
        forked(&instance);
        eventually("a spare waits", || {
            let status = instance.status();
            status["zygotes"].as_array().unwrap().iter().any(|one| one["spares"] != 0)
        });
        instance.ok(&["evict", "--paused"]);
        victim.kill(&instance);
        victim.mend(&instance);
        serves(&instance, victim);
    }
    // The spare itself, and whatever else waits in sandboxes.
    forked(&instance);
    let all = instance.sandboxed();
    for pid in &all {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    eventually("they have ended", || all.iter().all(|pid| has_ended(*pid)));
    serves(&instance, Function);
}

fn each_is_killed_while_a_zygote_imports() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "large", "pandas"]);
    let code = "import pandas\n\ndef handler(event):\n    return event\n";
    instance.deploy("f", code, &["--env", "large"]);
    for victim in [Zygote, ZygotesHolder, Maker, Server, Supervisor] {
        instance.ok(&["evict"]);
        instance.invoke("f", &json!(0));
        eventually("a zygote imports, or has imported", || {
            let zygotes = instance.status()["zygotes"].clone();
            zygotes.as_array().unwrap().iter().any(|one| one["pid"].is_number())
                || zygotes.as_array().unwrap().iter().any(|one| one["state"] == "starting")
        });
        if let Some(pid) = victim.find(&instance) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            eventually("it has ended", || has_ended(pid));
        }
        victim.mend(&instance);
        serves(&instance, victim);
    }
}

fn each_is_killed_while_an_environment_is_made() {
    let instance = Instance::start(&Options::default());
    let requirements = instance.scratch().join("requirements.txt");
    // Enough to be at it for a while, and another set each time.
    let sets = ["toolz\nidna", "toolz\nsix", "toolz\nattrs"];
    for (victim, set) in [Maker, Server, Supervisor].into_iter().zip(sets) {
        fs::write(&requirements, format!("{set}\n")).unwrap();
        let code = "import toolz\n\ndef handler(event):\n    return event\n";
        instance.deploy("f", code, &["-r", requirements.to_str().unwrap()]);
        let waiting = invocation(&instance, 0.0);
        std::thread::sleep(Duration::from_millis(700));
        victim.kill(&instance);
        let output = waiting.wait_with_output().unwrap();
        let told = output.status.success() || !output.stderr.is_empty();
        assert!(told, "{victim:?}: {output:?}");
        victim.mend(&instance);
        serves(&instance, victim);
    }
}
