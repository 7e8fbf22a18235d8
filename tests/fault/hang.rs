//! Steps that never end: the supervisor ends them, reports and clears them, and the next start works.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pipsqueak::client::Client;
use pipsqueak::wire::Request;
use serde_json::json;

use crate::harness::{Instance, Options, Process, eventually, has_ended};
use crate::tests;

tests!(
    a_hand_that_hangs_is_ended,
    a_holder_that_hangs_is_ended,
    a_zygote_that_hangs_is_replaced,
    a_source_that_hangs_holds_up_no_other_deployment,
);

/// Starts an instance whose every start of a function makes a sandbox and a process.
fn start() -> Instance {
    let instance = Instance::start(&Options { tiers: Some("ssd"), ..Options::default() });
    instance.deploy("probed", "def handler(event): return event\n", &[]);
    assert_eq!(instance.invoke("probed", &json!(1))["result"], 1);
    instance
}

/// Children of any of a process's threads.
fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn name(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned()
}

fn stop(process: u32) {
    let _ = kill(Pid::from_raw(process.cast_signed()), Signal::SIGSTOP);
}

fn maker(instance: &Instance) -> u32 {
    let supervisor = instance.status()["pid"].as_u64().unwrap();
    let all = children(u32::try_from(supervisor).unwrap());
    let is_maker = |pid: &u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("make-sandboxes")
    };
    let heir = all.into_iter().find(is_maker).expect("a maker's heir");
    *children(heir).first().expect("a maker")
}

/// Invokes until the first process that `choose` finds below the maker has been stopped; returns
/// the message of that invocation.
fn invoke_stopping(instance: &Instance, choose: impl Fn(u32) -> Option<u32> + Sync) -> String {
    let maker = maker(instance);
    for _ in 0..200 {
        let (done, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) && !stopped.load(Ordering::Relaxed) {
                    let Some(process) = choose(maker) else { continue };
                    stop(process);
                    // It stops a moment later, and may have gone on to what is not to hang.
                    let process = process.cast_signed();
                    while Process::of(process).is_some_and(|one| !"TZ".contains(one.state)) {}
                    if choose(maker) == Some(process.cast_unsigned()) {
                        stopped.store(true, Ordering::Relaxed);
                    } else {
                        let _ = kill(Pid::from_raw(process), Signal::SIGCONT);
                    }
                }
            });
            let output = instance.call(&["invoke", "probed", "-d", "1"]);
            done.store(true, Ordering::Relaxed);
            output
        });
        // One that was about to end has been stopped too late.
        if stopped.into_inner() && output.code != 0 {
            assert_eq!(output.code, 70, "{output:?}");
            return output.stderr;
        }
        instance.ok(&["evict"]);
    }
    panic!("nothing was stopped in time");
}

fn nothing_is_left_and_the_next_works(instance: &Instance) {
    eventually("nothing is left", || {
        let status = instance.status();
        status["sandboxes"] == json!([]) && status["changing"] == json!([])
    });
    eventually("the maker has no process left", || children(maker(instance)).is_empty());
    let group = instance.group().unwrap().to_owned();
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"] {
        let Ok(entries) = fs::read_dir(format!("{root}/{group}")) else { continue };
        let groups = entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
        assert_eq!(groups.map(|e| e.path()).collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
    }
    assert_eq!(instance.invoke("probed", &json!(2))["result"], 2);
}

fn a_hand_that_hangs_is_ended() {
    let instance = start();
    // A hand is a fork that has the maker's name; holders are called by what they do.
    let own = name(maker(&instance));
    let said = invoke_stopping(&instance, |maker| {
        children(maker).into_iter().find(|child| name(*child) == own)
    });
    assert!(said.contains("making sandbox s") && said.contains("not done within 10s"), "{said}");
    nothing_is_left_and_the_next_works(&instance);
}

fn a_holder_that_hangs_is_ended() {
    let instance = start();
    let said = invoke_stopping(&instance, |maker| {
        let hands = children(maker).into_iter();
        hands.flat_map(children).find(|process| name(*process) == "mounts")
    });
    assert!(said.contains("the holder was not ready within 8s; it was at: mounts"), "{said}");
    nothing_is_left_and_the_next_works(&instance);
}

fn a_zygote_that_hangs_is_replaced() {
    // A child that was forked before is as good as any; without one, an interpreter is started.
    for (spares, tier) in [(1, "zygote"), (0, "ssd")] {
        let variables = vec![("PIPSQUEAK_SPARES", spares.to_string())];
        let instance = Instance::start(&Options { variables, ..Options::default() });
        instance.deploy("probed", "def handler(event): return event\n", &[]);
        instance.invoke("probed", &json!(1));
        instance.await_zygotes();
        let zygote = || instance.status()["zygotes"][0].clone();
        eventually("a spare waits", || zygote()["spares"] == spares);
        instance.ok(&["evict", "--paused"]);
        let pid = i32::try_from(zygote()["pid"].as_i64().unwrap()).unwrap();
        stop(pid.cast_unsigned());
        let answer = instance.invoke("probed", &json!(2));
        assert_eq!((&answer["result"], &answer["tier"]), (&json!(2), &json!(tier)), "{answer}");
        eventually("it has ended", || has_ended(pid));
    }
}

fn a_source_that_hangs_holds_up_no_other_deployment() {
    let (instance, other) = (start(), start());
    other.ok(&["env", "add", "hung", "idna"]);
    // The kernel knows the file, and none of its content: no import reads it.
    let source = other.mount().join("envs/hung/lib/python3.11/site-packages/idna/codec.py");
    let source = fs::canonicalize(source).unwrap();
    let server = i32::try_from(other.status()["mount"]["pid"].as_i64().unwrap()).unwrap();
    let keeper = Process::of(server).unwrap().parent;
    for process in [keeper, server] {
        stop(process.cast_unsigned());
    }
    // The command itself would look for what the file requires.
    let wanted = json!({
        "name": "slow", "source": source, "handler": "codec.getregentry", "network": "none",
        "variables": {},
    });
    let wanted = Request::Deploy(serde_json::from_value(wanted).unwrap());
    let mut client = Client::connect(&instance.run()).unwrap();
    let slow = std::thread::spawn(move || client.call(&wanted, &mut |_| {}).map(drop));
    let staging = instance.state().join("deploying");
    eventually("the code is being copied", || fs::read_dir(&staging).unwrap().count() == 1);
    instance.deploy("probed", "def handler(event): return [event]\n", &[]);
    assert_eq!(instance.invoke("probed", &json!(1))["result"], json!([1]));
    instance.ok(&["functions", "rm", "probed"]);
    assert!(!slow.is_finished());
    for process in [server, keeper] {
        kill(Pid::from_raw(process), Signal::SIGCONT).unwrap();
    }
    slow.join().unwrap().unwrap();
    assert_eq!(instance.json(&["functions", "show", "slow", "--json"])["version"], 1);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
}
