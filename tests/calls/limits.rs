//! Timeouts, memory, processes, the queue, and what an instance keeps in memory.

use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::harness::{Instance, Options, binary, eventually, patience};
use crate::tests;

tests!(
    a_timeout_kills,
    a_timeout_ends_all_that_was_started,
    too_much_memory_is_told_as_such,
    a_call_is_told_what_ended_it_and_not_an_earlier_one,
    processes_are_bounded,
    processor_time_is_bounded,
    what_a_function_writes_to_memory_is_bounded,
    limits_that_cannot_be_kept_are_told,
    concurrency_is_bounded_and_all_are_served,
    a_result_has_a_longest,
    an_event_has_a_longest,
    the_memory_budget_evicts_the_oldest,
);

fn a_timeout_kills() {
    let instance = Instance::start(&Options::default());
    let code = "
import subprocess, time

def handler(event):
    print('before')
    subprocess.Popen(['sleep', '1000'])
    time.sleep(1000)
";
    // An emulated machine starts the function within the time, too.
    instance.deploy("slow", code, &["--timeout", &patience(1).as_secs().to_string()]);
    let began = Instant::now();
    let answer = instance.invoke("slow", &json!({}));
    assert!(began.elapsed() < patience(15));
    assert_eq!(answer["error"]["errorType"], "Runtime.Timeout", "{answer}");
    assert_eq!(answer["logs"], "before\n");
    assert_eq!(instance.call(&["invoke", "slow"]).code, 5);
    assert_eq!(instance.status()["sandboxes"], json!([]));
}

/// Even processes in sessions of their own that are orphans.
fn a_timeout_ends_all_that_was_started() {
    let instance = Instance::start(&Options { tiers: Some("paused,ssd"), ..Options::default() });
    let code = "
import os, signal, time

def handler(event):
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() == 0:
                time.sleep(1000)
            time.sleep(1000 if event else 0)
            os._exit(0)
    time.sleep(1000)
";
    instance.deploy("tree", code, &["--timeout", &patience(2).as_secs().to_string()]);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| instance.invoke("tree", &json!(1)));
        // The holder, the function, three children and theirs.
        eventually("all of them run", || instance.sandboxed().len() == 8);
        assert_eq!(call.join().unwrap()["error"]["errorType"], "Runtime.Timeout");
    });
    eventually("nothing is left of them", || instance.sandboxed().is_empty());
}

fn too_much_memory_is_told_as_such() {
    let instance = Instance::start(&Options::default());
    let code = "def handler(event): return len(bytes(range(256)) * event)\n";
    instance.deploy("hungry", code, &["--memory", "64M"]);
    assert_eq!(instance.invoke("hungry", &json!(1000))["result"], 256_000);
    let answer = instance.invoke("hungry", &json!(1 << 20));
    assert_eq!(answer["error"]["errorType"], "Runtime.OutOfMemory", "{answer}");
    assert_eq!(instance.call(&["invoke", "hungry", "-d", "1048576"]).code, 5);
    assert_eq!(instance.invoke("hungry", &json!(1))["result"], 256);
}

fn a_call_is_told_what_ended_it_and_not_an_earlier_one() {
    let instance = Instance::start(&Options::default());
    let code = "
import os, subprocess, sys

def handler(event):
    if event == 'child':
        return subprocess.run([sys.executable, '-c', 'bytearray(1 << 30)[:] = bytes(1 << 30)']).returncode
    if event == 'exit':
        os._exit(3)
    os.kill(os.getpid(), 9)
";
    instance.deploy("parent", code, &["--memory", "128M"]);
    for (event, how) in [("exit", "exited with status 3"), ("kill", "SIGKILL")] {
        // The kernel ends a child of the function's, and the function goes on.
        let answer = instance.invoke("parent", &json!("child"));
        assert_eq!(answer["result"], -9, "{answer}");
        eventually("it is frozen", || instance.status()["sandboxes"][0]["state"] == "paused");
        let answer = instance.invoke("parent", &json!(event));
        assert_eq!(answer["error"]["errorType"], "Runtime.ExitError", "{answer}");
        let message = answer["error"]["errorMessage"].as_str().unwrap();
        assert!(message.contains(how), "{message}");
    }
}

fn processes_are_bounded() {
    let instance = Instance::start(&Options::default());
    let code = "
import os, time

def handler(event):
    count = 0
    try:
        while count < 5000:
            if os.fork() == 0:
                time.sleep(100)
            count += 1
    except OSError:
        pass
    return count
";
    instance.deploy("bomb", code, &[]);
    let answer = instance.invoke("bomb", &json!({}));
    assert!(answer["result"].as_u64().is_some_and(|count| count < 1000), "{answer}");
}

fn processor_time_is_bounded() {
    let instance = Instance::start(&Options::default());
    let code = "
import time

def handler(event):
    began, used = time.monotonic(), time.process_time()
    while time.monotonic() - began < event:
        pass
    return (time.process_time() - used) / (time.monotonic() - began)
";
    instance.deploy("slow", code, &["--cpus", "0.1", "--timeout", "60"]);
    assert_eq!(instance.json(&["functions", "show", "slow", "--json"])["cpu_millis"], 100);
    // From an interpreter of its own and from a zygote.
    for tier in ["cold", "zygote"] {
        let answer = instance.invoke("slow", &json!(2));
        assert_eq!(answer["tier"], tier, "{answer}");
        let share = answer["result"].as_f64().unwrap();
        assert!(share < 0.25, "{share} of a processor");
        assert!(throttled(&instance) > 0, "with {share} of a processor");
        instance.await_zygotes();
        instance.ok(&["evict", "--paused"]);
    }
    instance.deploy("slow", code, &["--timeout", "60"]);
    instance.invoke("slow", &json!(1));
    assert_eq!(throttled(&instance), 0);
}

/// The number of times that the instance's one sandbox was throttled for its processor time.
fn throttled(instance: &Instance) -> u64 {
    let status = instance.status();
    let sandbox = format!("s{}", status["sandboxes"][0]["id"]);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let roots = mounts.lines().filter(|line| line.contains(" cgroup"));
    let counts = roots.filter_map(|line| {
        let group = std::path::Path::new(line.split(' ').nth(1)?).join(instance.group()?);
        let text = std::fs::read_to_string(group.join(&sandbox).join("cpu.stat")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok())
    });
    counts.max().expect("a controller of processor time")
}

fn what_a_function_writes_to_memory_is_bounded() {
    let instance = Instance::start(&Options::default());
    let code = "
import os

def handler(folder):
    written = 0
    try:
        with open(folder + '/full', 'wb', buffering=0) as file:
            while written < 256 << 20:
                written += file.write(bytes(1 << 20))
    except OSError as error:
        return [written, error.errno]
    finally:
        os.unlink(folder + '/full')
    return [written, 0]
";
    instance.deploy("full", code, &["--tmp", "8M"]);
    assert_eq!(instance.json(&["functions", "show", "full", "--json"])["tmp"], 8 << 20);
    for _ in 0..2 {
        let enospc = nix::errno::Errno::ENOSPC as i32;
        assert_eq!(instance.invoke("full", &json!("/tmp"))["result"], json!([8 << 20, enospc]));
        let shm = instance.invoke("full", &json!("/dev/shm"));
        assert_eq!(shm["result"], json!([64 << 20, enospc]));
        instance.await_zygotes();
        instance.ok(&["evict", "--paused"]);
    }
}

/// On a machine that lacks a controller `doctor` and `up` name the lost limits, and functions run.
fn limits_that_cannot_be_kept_are_told() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let has_cpu = |line: &&str| {
        line.split(' ').nth(2) == Some("cgroup")
            && line.split([' ', ',']).any(|option| option == "cpu")
    };
    let Some(cpu) = mounts.lines().find(has_cpu).and_then(|line| line.split(' ').nth(1)) else {
        // A machine with one hierarchy cannot be made to lack one controller.
        return;
    };
    let instance = Instance::start(&Options::default());
    instance.ok(&["down"]);
    let without_cpu = |verb: &str| {
        let script = format!("umount {cpu} && exec {} {verb}", binary("pipsqueak").display());
        let mut command = instance.environment(Command::new("unshare"));
        let output = command.args(["--mount", "sh", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    };
    let lost = "cpu: no such controller: functions have no limit of processor time";
    let told = |text: &[u8]| String::from_utf8_lossy(text).matches(lost).count();
    assert_eq!(told(&without_cpu("doctor").stdout), 1);
    assert_eq!(told(&without_cpu("up").stderr), 1);
    let log = std::fs::read_to_string(instance.run().join("pipsqueakd.log")).unwrap();
    assert_eq!(log.matches("no such cgroup controller").count(), 1, "{log}");
    instance.deploy("free", "def handler(event): return event\n", &["--cpus", "0.5"]);
    assert_eq!(instance.invoke("free", &json!(1))["result"], 1);
}

fn concurrency_is_bounded_and_all_are_served() {
    let instance = Instance::start(&Options::default());
    let code = "
import time

def handler(event):
    time.sleep(0.05)
    return event
";
    instance.deploy("busy", code, &["--sandboxes", "2"]);
    instance.invoke("busy", &json!(0));
    std::thread::scope(|scope| {
        let instance = &instance;
        let call = |n| scope.spawn(move || (n, instance.invoke("busy", &json!(n))));
        for call in (0..16).map(call).collect::<Vec<_>>() {
            let (n, answer) = call.join().unwrap();
            assert_eq!(answer["result"], n, "{answer}");
        }
    });
    let kept = instance.status()["sandboxes"].as_array().unwrap().len();
    assert!((1..=2).contains(&kept), "{kept}");
}

fn a_result_has_a_longest() {
    let instance = Instance::start(&Options::default());
    let code = "def handler(event): return 'x' * event\n";
    instance.deploy("long", code, &["--payload", "1K"]);
    // With the quotes of a text.
    assert_eq!(instance.invoke("long", &json!(1022))["result"].as_str().unwrap().len(), 1022);
    let answer = instance.invoke("long", &json!(1023));
    assert_eq!(answer["error"]["errorType"], "Function.ResponseSizeTooLarge", "{answer}");
    let message = answer["error"]["errorMessage"].as_str().unwrap();
    assert!(message.contains("(1025 bytes) exceeded") && message.contains("(1024 bytes)"));
    assert_eq!(instance.call(&["invoke", "long", "-d", "5000"]).code, 1);
    // It serves on.
    assert_eq!(instance.invoke("long", &json!(1))["tier"], "paused");
    for flags in [["--concurrency", "2"].as_slice(), &[]] {
        instance.deploy("long", code, flags);
        assert_eq!(instance.invoke("long", &json!((6 << 20) - 2))["error"], json!(null));
        let answer = instance.invoke("long", &json!((6 << 20) - 1));
        assert_eq!(answer["error"]["errorType"], "Function.ResponseSizeTooLarge");
    }
}

fn an_event_has_a_longest() {
    let folder = crate::harness::folder();
    let configuration = crate::harness::write(
        folder.path(),
        "config.toml",
        "payload_in = \"7M\"\npayload_out = 10\n",
    );
    let code = "def handler(event): return len(event)\n";
    let file = |instance: &Instance, bytes: usize| {
        let path = instance.scratch().join("event");
        std::fs::write(&path, format!("\"{}\"", "x".repeat(bytes - 2))).unwrap();
        format!("@{}", path.display())
    };
    let refused = |instance: &Instance, bytes: usize, says: &str| {
        let output = instance.call(&["invoke", "long", "-d", &file(instance, bytes)]);
        assert!(output.code == 5 && output.stderr.contains(says), "{output:?}");
    };
    let taken = |instance: &Instance, bytes: usize| {
        let taken = instance.ok(&["invoke", "long", "-d", &file(instance, bytes)]);
        assert_eq!(taken.trim(), (bytes - 2).to_string());
    };
    let instance = Instance::start(&Options::default());
    instance.deploy("long", code, &[]);
    taken(&instance, 6 << 20);
    refused(&instance, (6 << 20) + 1, "the payload is over the limit of 6291456 bytes");
    // Of less than what all take, the client does not know that it is too long.
    instance.deploy("long", code, &["--payload", "100"]);
    taken(&instance, 100);
    refused(&instance, 101, "its event has 101 bytes, of 100 at most");
    instance.deploy("long", code, &["--payload", "20M"]);
    taken(&instance, 20 << 20);
    refused(&instance, (20 << 20) + 1, "the payload is over the limit of 20971520 bytes");
    refused(&instance, (64 << 20) + 1, "the payload is over the limit of 67108864 bytes");
    drop(instance);

    let variables = vec![("PIPSQUEAK_CONFIG", configuration.to_str().unwrap().to_owned())];
    let instance = Instance::start(&Options { variables, ..Options::default() });
    instance.deploy("long", code, &[]);
    taken(&instance, 7 << 20);
    refused(&instance, (7 << 20) + 1, "the payload is over the limit of 7340032 bytes");
    instance.deploy("long", "def handler(event): return 'x' * 9\n", &[]);
    let answer = instance.invoke("long", &json!(1));
    assert_eq!(answer["error"]["errorType"], "Function.ResponseSizeTooLarge", "{answer}");
}

fn the_memory_budget_evicts_the_oldest() {
    let options = Options { memory: Some("60M"), tiers: Some("paused,ssd"), ..Options::default() };
    let instance = Instance::start(&options);
    let code = "
kept = bytearray(20 << 20)
for at in range(0, len(kept), 4096):
    kept[at] = 1

def handler(event): return 1
";
    for name in ["one", "two", "three", "four"] {
        instance.deploy(name, code, &[]);
        instance.invoke(name, &json!({}));
    }
    eventually("the oldest is evicted and the newest is kept", || {
        let status = instance.status();
        let kept: Vec<_> =
            status["sandboxes"].as_array().unwrap().iter().map(|s| s["function"].clone()).collect();
        kept.contains(&json!("four")) && !kept.contains(&json!("one"))
    });
    assert_eq!(instance.invoke("four", &json!({}))["tier"], "paused");
    assert_eq!(instance.invoke("one", &json!({}))["tier"], "ssd");
}
