//! `up` right after the end of a supervisor: it waits for the leftovers.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{Instance, Options, eventually, kill_9};
use crate::tests;

tests!(
    a_killed_supervisor_is_followed_at_once,
    up_waits_for_what_has_the_lock_of_a_dead_supervisor,
    up_follows_an_end_that_has_just_begun,
    of_two_that_start_one_serves_and_the_other_is_told;
    long a_supervisor_is_killed_again_and_again,
);

const BUSY: &str =
    "import time, six\n\ndef handler(event):\n    time.sleep(event)\n    return event\n";

/// Kills the supervisor while functions run, are paused and wait, and starts another at once.
fn kill_and_start(rounds: usize) {
    let instance = Instance::start(&Options { engines: true, ..Options::default() });
    instance.ok(&["env", "add", "small", "six"]);
    instance.deploy("f", BUSY, &["--env", "small"]);
    for round in 1..=rounds {
        assert_eq!(instance.invoke("f", &json!(0))["result"], 0, "round {round}");
        let mut running: Vec<_> = (0..2).map(|_| invocation(&instance, "60")).collect();
        eventually("they run", || {
            let sandboxes = instance.status()["sandboxes"].clone();
            let states = sandboxes.as_array().unwrap().iter().map(|one| &one["state"]);
            states.filter(|state| **state == "running").count() == 2
        });
        kill_9(&instance.status()["pid"]);
        instance.up();
        for invocation in &mut running {
            assert_eq!(invocation.wait().unwrap().code(), Some(70), "round {round}");
        }
        // The whole of it: the mount is this one's, and what an instance has but once.
        let status = instance.status();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let is_ours = |line: &&str| line.split(' ').nth(1) == instance.mount().to_str();
        assert_eq!(mounts.lines().filter(is_ours).count(), 1, "round {round}: {mounts}");
        assert!(instance.docker_plugin().exists(), "round {round}: {status}");
        assert!(instance.cdi().exists(), "round {round}: {status}");
        assert!(instance.mount().join("envs/small/bin/python").exists(), "round {round}");
    }
    assert_eq!(instance.invoke("f", &json!(0))["result"], 0);
}

fn invocation(instance: &Instance, seconds: &str) -> Child {
    let mut command = instance.command();
    command.args(["invoke", "f", "-d", seconds]).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn a_killed_supervisor_is_followed_at_once() {
    kill_and_start(8);
}

fn a_supervisor_is_killed_again_and_again() {
    kill_and_start(50);
}

fn lock_of(instance: &Instance) -> PathBuf {
    instance.run().join("supervisor.lock")
}

/// A process that holds the lock of an instance until it is told to end, like a leftover of a
/// supervisor. `owner` is written in the lock.
fn hold(lock: &Path, owner: &str) -> Child {
    let script = "
import fcntl, sys
lock = open(sys.argv[1], 'w')
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write(sys.argv[2])
lock.flush()
print('locked', flush=True)
sys.stdin.read()
";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(lock).arg(owner);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 7];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    child
}

/// Starts `up`, and waits until its supervisor tries the lock.
fn starting(instance: &Instance) -> Child {
    let log = instance.run().join("pipsqueakd.log");
    let told = fs::read_to_string(&log).unwrap().len();
    let mut up = instance.command();
    let up = up.arg("up").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("a supervisor waits", || {
        fs::read_to_string(&log).unwrap()[told..].contains("waiting for")
    });
    up
}

fn up_waits_for_what_has_the_lock_of_a_dead_supervisor() {
    let instance = Instance::start(&Options::default());
    let mut dead = Command::new("true").spawn().unwrap();
    let reaped = {
        let mut other = Command::new("true").spawn().unwrap();
        other.wait().unwrap();
        other.id()
    };
    let own = std::process::id();
    // Of one that is gone; of one that nobody reaps; of one whose number this process has by now; of
    // nobody.
    for owner in
        [format!("{reaped} 1\n"), format!("{}\n", dead.id()), format!("{own} 1\n"), String::new()]
    {
        instance.ok(&["down"]);
        let mut holder = hold(&lock_of(&instance), &owner);
        let mut up = starting(&instance);
        assert_eq!(up.try_wait().unwrap(), None, "{owner}");
        drop(holder.stdin.take());
        holder.wait().unwrap();
        let output = up.wait_with_output().unwrap();
        assert!(output.status.success(), "{owner}: {output:?}");
        instance.status();
    }
    dead.wait().unwrap();
    // Of one that runs: nobody waits for that.
    instance.ok(&["down"]);
    let mut holder = hold(&lock_of(&instance), &format!("{own}\n"));
    let output = instance.call(&["up"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains(&format!("running already (process {own})")), "{output:?}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    instance.up();
}

/// The end of a supervisor may have just begun, by any signal, when the next one starts.
fn up_follows_an_end_that_has_just_begun() {
    let instance = Instance::start(&Options::default());
    for signal in ["KILL", "ABRT", "KILL"] {
        let pid = instance.status()["pid"].to_string();
        let mut script = Command::new("sh");
        script.args(["-c", "kill -s $0 $1; exec \"$2\" up", signal, &pid]);
        script.arg(instance.command().get_program());
        let output = instance.environment(script).output().unwrap();
        assert!(output.status.success(), "{signal}: {output:?}");
        assert_ne!(instance.status()["pid"].to_string(), pid);
    }
}

fn of_two_that_start_one_serves_and_the_other_is_told() {
    let instance = Instance::start(&Options::default());
    for round in 0..6 {
        if round % 2 == 0 {
            kill_9(&instance.status()["pid"]);
        } else {
            instance.ok(&["down"]);
        }
        let start = || {
            let mut up = instance.command();
            up.arg("up").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let ups = [start(), start(), start()];
        let outputs = ups.map(|up| up.wait_with_output().unwrap());
        let (served, refused): (Vec<_>, Vec<_>) =
            outputs.iter().partition(|output| output.status.success());
        assert_eq!(served.len(), 1, "{outputs:?}");
        let pid = instance.status()["pid"].to_string();
        for output in refused {
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(&format!("(process {pid})")), "{said}");
            assert!(said.contains("already"), "{said}");
        }
    }
}
