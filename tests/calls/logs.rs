//! Output of functions: kept, told apart, followed and bounded.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::harness::{Instance, Options, eventually};
use crate::tests;

tests!(
    logs_are_complete_when_there_is_a_reply,
    interleaved_invocations_are_told_apart,
    a_line_is_followed_before_its_function_ends,
    followers_end_with_the_function_and_with_the_supervisor,
    a_flood_is_kept_within_its_bounds,
    a_flood_of_what_was_left_delays_no_answer,
    failures_are_in_the_logs,
    logs_outlive_the_supervisor_and_go_with_their_function,
    an_invocation_is_followed_through_the_supervisors_log,
);

/// Prints, waits, and prints again.
const TALKER: &str = "
import sys, time

def handler(event):
    print('begin', event, flush=True)
    time.sleep(1)
    print('end', event, file=sys.stderr)
";

/// The lines that `logs --json` prints.
fn logs(instance: &Instance, arguments: &[&str]) -> Vec<Value> {
    let text = instance.ok(&[&["logs"], arguments, &["--json"]].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["text"].as_str().unwrap()).collect()
}

fn logs_are_complete_when_there_is_a_reply() {
    let instance = Instance::start(&Options::default());
    instance.deploy("echo", "def handler(event): print(event, end='')\n", &[]);
    for number in 0..20 {
        let answer = instance.invoke("echo", &json!(number));
        let request = answer["request_id"].as_str().unwrap();
        let records = logs(&instance, &["echo", "--request", request]);
        let told = texts(&records);
        assert_eq!((told.len(), told[1]), (4, number.to_string().as_str()), "{told:?}");
        assert!(told[3].starts_with("REPORT RequestId: "), "{told:?}");
    }
}

fn interleaved_invocations_are_told_apart() {
    let instance = Instance::start(&Options::default());
    instance.deploy("talker", TALKER, &[]);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let instance = &instance;
        let calls: Vec<_> = ["a", "b"]
            .map(|name| scope.spawn(move || (name, instance.invoke("talker", &json!(name)))))
            .into();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for (name, answer) in &answers {
        let request = answer["request_id"].as_str().unwrap();
        let records = logs(&instance, &["talker", "--request", request]);
        assert!(records.iter().all(|record| record["request"] == request), "{records:?}");
        let told = texts(&records);
        assert_eq!(told[0], format!("START RequestId: {request} Version: 1"));
        assert_eq!(told[1..3], [format!("begin {name}"), format!("end {name}")], "{told:?}");
        assert_eq!(told[3], format!("END RequestId: {request}"));
        assert!(told[4].contains("\tMemory Size: 512 MB\t") && told.len() == 5, "{told:?}");
        let sources: Vec<_> = records.iter().map(|record| record["source"].clone()).collect();
        assert_eq!(sources[..3], ["platform", "function", "function"]);
    }
    let all = logs(&instance, &["talker"]);
    assert_eq!(all.len(), 10);
    let place = |text: &str| texts(&all).iter().position(|told| *told == text).unwrap();
    // They were at it at the same time.
    assert!(place("begin a").max(place("begin b")) < place("end a").min(place("end b")));
    assert!(all.is_sorted_by_key(|record| record["time"].as_str().unwrap().to_owned()));
    assert_eq!(logs(&instance, &["talker", "-n", "3"]), all[7..]);
    assert_eq!(logs(&instance, &["talker", "--since", "1h"]), all);
    assert!(logs(&instance, &["talker", "--since", "0"]).is_empty());
    // For people: time, request, text.
    let line = instance.ok(&["logs", "talker", "-n", "1"]);
    assert_eq!(line.split(' ').nth(1), all[9]["request"].as_str(), "{line}");
    let unknown = instance.call(&["logs", "nobody"]);
    assert!(unknown.code == 4 && unknown.stderr.contains("functions ls"), "{unknown:?}");
}

/// `logs -f`, ended when it is dropped.
struct Follower(Child);

impl Follower {
    fn start(instance: &Instance, function: &str) -> Self {
        let mut command = instance.command();
        let command = command.args(["logs", function, "-f", "--json"]);
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Reads on until a line contains a text.
    fn await_text(&mut self, text: &str) {
        let mut lines = BufReader::new(self.0.stdout.as_mut().unwrap());
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "ended before {text:?}");
        }
    }

    fn await_end(&mut self) {
        let status = self.0.wait().unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_line_is_followed_before_its_function_ends() {
    let instance = Instance::start(&Options::default());
    let code = "
import time

def handler(event):
    print('begun', flush=True)
    time.sleep(event)
";
    instance.deploy("slow", code, &["--timeout", "100"]);
    instance.invoke("slow", &json!(0));
    let mut follower = Follower::start(&instance, "slow");
    follower.await_text("REPORT");
    let mut command = instance.command();
    let mut call = command.args(["invoke", "slow", "-d", "60"]).spawn().unwrap();
    follower.await_text("\"begun\"");
    assert!(call.try_wait().unwrap().is_none(), "the function has ended already");
    assert_eq!(instance.status()["sandboxes"][0]["state"], "running");
    call.kill().unwrap();
    call.wait().unwrap();
    // Not for 30 seconds: the function that runs is no reason for its test to wait.
    crate::harness::kill_9(&instance.status()["sandboxes"][0]["pid"]);
}

fn followers_end_with_the_function_and_with_the_supervisor() {
    let instance = Instance::start(&Options::default());
    for name in ["removed", "kept"] {
        instance.deploy(name, "def handler(event): return 1\n", &[]);
        instance.invoke(name, &json!({}));
    }
    let [mut removed, mut kept] = ["removed", "kept"].map(|name| {
        let mut follower = Follower::start(&instance, name);
        follower.await_text("REPORT");
        follower
    });
    instance.ok(&["functions", "rm", "removed"]);
    removed.await_end();
    // One that goes without a word holds nobody up.
    drop(Follower::start(&instance, "kept"));
    instance.ok(&["down"]);
    kept.await_end();
}

fn a_flood_is_kept_within_its_bounds() {
    let variables = vec![("PIPSQUEAK_LOGS", "1M".to_owned())];
    let instance = Instance::start(&Options { variables, ..Options::default() });
    let code = "
def handler(event):
    for number in range(event):
        print(f'{number:099}')
    return event
";
    instance.deploy("flood", code, &[]);
    let mut first = None;
    let mut last = json!(null);
    for _ in 0..12 {
        last = instance.invoke("flood", &json!(2000));
        first = first.or(last["request_id"].as_str().map(ToOwned::to_owned));
        assert_eq!(last["result"], 2000);
        let kept = instance.status()["log_bytes"].as_u64().unwrap();
        assert!(kept <= 1 << 20, "{kept} bytes");
    }
    let request = last["request_id"].as_str().unwrap();
    let records = logs(&instance, &["flood", "--request", request]);
    assert_eq!(records.len(), 2003);
    assert_eq!(records[2000]["text"], format!("{:099}", 1999));
    assert!(logs(&instance, &["flood", "--request", &first.unwrap()]).is_empty());
    // More than one invocation may print: said once, and the function does not fail.
    let answer = instance.invoke("flood", &json!(50_000));
    assert_eq!(answer["result"], 50_000);
    let records = logs(&instance, &["flood", "--request", answer["request_id"].as_str().unwrap()]);
    let kept: usize =
        texts(&records).iter().filter(|t| t.starts_with('0')).map(|t| t.len() + 1).sum();
    let told: Vec<_> = texts(&records).into_iter().filter(|t| t.contains("not kept")).collect();
    // The last line that is kept is cut, and has no end.
    let all = 5_000_000 + 1;
    assert_eq!(told, [format!("[{} more bytes were not kept]", all - kept)]);
    assert!(instance.status()["log_bytes"].as_u64().unwrap() <= 1 << 20);
    let refused = instance.call(&["up", "--logs", "1k"]);
    assert!(refused.code == 2 && refused.stderr.contains("1M at least"), "{refused:?}");
}

fn a_flood_of_what_was_left_delays_no_answer() {
    let instance = Instance::start(&Options::default());
    let code = "
import subprocess

def handler(event):
    if event == 'flood':
        for _ in range(4):
            subprocess.Popen(['yes', 'x' * 100])
    print(event)
    return event
";
    for concurrency in ["1", "4"] {
        let name = format!("left-{concurrency}");
        instance.deploy(&name, code, &["--concurrency", concurrency, "--timeout", "60"]);
        instance.deploy("other", "def handler(event): return event\n", &[]);
        for event in ["flood", "quiet", "flood", "quiet"] {
            let answer = instance.invoke(&name, &json!(event));
            assert_eq!(answer["result"], event, "{answer}");
            assert_eq!(instance.invoke("other", &json!(event))["result"], event);
            if event == "quiet" && concurrency == "1" {
                assert_eq!(answer["logs"], "quiet\n");
            }
        }
        instance.ok(&["functions", "rm", &name]);
    }
}

fn failures_are_in_the_logs() {
    let instance = Instance::start(&Options::default());
    let code = "
import os, time

def handler(event):
    print('half a line', end='', flush=True)
    if event == 'slow':
        time.sleep(100)
    if event == 'exit':
        os._exit(3)
    raise ValueError('no')
";
    instance.deploy("bad", code, &["--timeout", "1"]);
    for (event, error, status) in [
        ("raise", "[ERROR] ValueError: no", "Status: error\tError Type: ValueError"),
        ("exit", "[ERROR] Runtime.ExitError: ", "Status: error\tError Type: Runtime.ExitError"),
        ("slow", "[ERROR] Runtime.Timeout: ", "Status: timeout"),
    ] {
        let answer = instance.invoke("bad", &json!(event));
        let request = answer["request_id"].as_str().unwrap();
        let records = logs(&instance, &["bad", "--request", request]);
        let told = texts(&records);
        assert_eq!(told[1], "half a line", "{told:?}");
        assert!(told[2].starts_with(error), "{told:?}");
        assert!(told.last().unwrap().ends_with(status), "{told:?}");
    }
}

fn logs_outlive_the_supervisor_and_go_with_their_function() {
    let instance = Instance::start(&Options::default());
    instance.deploy("kept", "def handler(event): print(event)\n", &[]);
    instance.invoke("kept", &json!("before"));
    // At the end, what was recorded is written.
    instance.ok(&["down"]);
    instance.up();
    instance.invoke("kept", &json!("after"));
    eventually("both are there", || {
        let records = logs(&instance, &["kept"]);
        let told = texts(&records);
        told.contains(&"before") && told.contains(&"after")
    });
    let folder = instance.state().join("logs/kept");
    assert!(folder.exists());
    instance.ok(&["functions", "rm", "kept"]);
    assert!(!folder.exists());
    assert_eq!(instance.status()["log_bytes"], 0);
    instance.deploy("kept", "def handler(event): print(event)\n", &[]);
    assert!(logs(&instance, &["kept"]).is_empty());
}

fn an_invocation_is_followed_through_the_supervisors_log() {
    let variables = vec![("PIPSQUEAK_LOG_LEVEL", "debug".to_owned())];
    let instance = Instance::start(&Options { variables, ..Options::default() });
    instance.deploy("echo", "def handler(event): return event\n", &[]);
    let answers = [1, 2].map(|number| instance.invoke("echo", &json!(number)));
    let log = std::fs::read_to_string(instance.run().join("pipsqueakd.log")).unwrap();
    for answer in answers {
        let request = answer["request_id"].as_str().unwrap();
        let of_it: Vec<_> = log.lines().filter(|line| line.contains(request)).collect();
        assert_eq!(of_it.len(), 2, "{log}");
        for (line, what) in of_it.iter().zip(["asked", "answered"]) {
            assert!(line.contains("function=\"echo\" sandbox="), "{line}");
            assert!(line.contains(what), "{line}");
        }
    }
    let refused = instance.call(&["up", "--log-level", "loud"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("name error, warn, info or debug"), "{}", refused.stderr);
}
