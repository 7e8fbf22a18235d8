//! Timeouts, memory, processes, queue, and what is kept in memory.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Instance, Options, eventually};
use crate::tests;

tests!(
    a_timeout_kills,
    too_much_memory_is_told_as_such,
    processes_are_bounded,
    concurrency_is_bounded_and_all_are_served,
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
    instance.deploy("slow", code, &["--timeout", "1"]);
    let began = Instant::now();
    let answer = instance.invoke("slow", &json!({}));
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(answer["error"]["errorType"], "Runtime.Timeout", "{answer}");
    assert_eq!(answer["logs"], "before\n");
    assert_eq!(instance.call(&["invoke", "slow"]).code, 5);
    assert_eq!(instance.status()["sandboxes"], json!([]));
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

fn concurrency_is_bounded_and_all_are_served() {
    let instance = Instance::start(&Options::default());
    let code = "
import time

def handler(event):
    time.sleep(0.05)
    return event
";
    instance.deploy("busy", code, &["--concurrency", "2"]);
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
