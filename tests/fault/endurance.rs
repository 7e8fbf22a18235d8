//! Very many invocations of every kind: the instance has no more of anything after all than after a few.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use pipsqueak::client::{Client, Given};
use pipsqueak::wire::{Invocation, Reply, Request};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::soak::{VIEWS, at_rest};
use crate::harness::{Instance, Options, eventually};
use crate::tests;

tests!(
    nothing_grows;
    long nothing_grows_by_a_hundred_thousand_invocations,
);

/// Functions that take turns; not all of them fit into memory.
const FUNCTIONS: usize = 60;
const CLIENTS: usize = 4;
/// Most bytes of a function's logs on disk.
const LOGS: u64 = 1 << 20;
/// Growth of the memory of an idle instance's processes that is tolerated, in KiB, as allocators keep some.
const MEMORY: u64 = 16 << 10;
/// Growth of the disk use that is tolerated, in bytes, besides logs: the databases of the catalog
/// and of events.
const DISK: u64 = 4 << 20;

/// Does what its event says.
const CODE: &str = "
import os, sys

def handler(event):
    if event == 'raise':
        raise ValueError('as told')
    if event == 'end':
        os._exit(3)
    if event == 'print':
        print('x' * 2000)
    if event == 'stream':
        return ('x' * 1000 for _ in range(100))
    if event == 'files':
        with open('/tmp/file', 'a') as file:
            file.write('x' * 1000)
    return event
";

fn nothing_grows() {
    endure(6_000);
}

fn nothing_grows_by_a_hundred_thousand_invocations() {
    endure(100_000);
}

/// The resources that an idle instance has.
#[derive(Debug, Clone)]
struct Rest {
    /// The counts of [`at_rest`].
    counts: [usize; 5],
    /// Proportional set size of the instance's processes, in KiB.
    memory: u64,
    /// Bytes of blocks of files in the instance's folders, without logs.
    disk: u64,
    /// Bytes of blocks of logs.
    logs: u64,
}

impl Rest {
    fn of(instance: &Instance) -> Self {
        eventually("all events are carried out", || {
            let events = &instance.status()["events"];
            events["pending"] == json!(0) && events["running"] == json!(0)
        });
        let counts = at_rest(instance);
        let memory = instance.footprint().processes.iter().map(|pid| pss(*pid)).sum();
        let logs = bytes(&instance.state().join("logs"));
        let all = bytes(&instance.state()) + bytes(&instance.run());
        Self { counts, memory, disk: all - logs, logs }
    }

    fn is_within(&self, before: &Self) -> bool {
        let counted = self.counts.iter().zip(&before.counts).all(|(now, before)| now <= before);
        counted && self.memory <= before.memory + MEMORY && self.disk <= before.disk + DISK
    }
}

fn pss(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().unwrap())
}

/// Bytes in blocks of all files below a folder.
fn bytes(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    metadata.blocks() * 512 + entries.map(|entry| bytes(&entry.path())).sum::<u64>()
}

fn endure(invocations: usize) {
    let variables = vec![("PIPSQUEAK_LOGS", LOGS.to_string())];
    let memory = Some("300M");
    let instance = Instance::start(&Options { memory, variables, ..Options::default() });
    for (name, package) in [("e0", "six"), ("e1", "idna")] {
        instance.ok(&["env", "add", name, package]);
    }
    for number in 0..FUNCTIONS {
        let environment = format!("e{}", number % 2);
        let flags = ["--env", &environment, "--retries", "0", "--concurrency"];
        let concurrency = if number % 5 == 0 { "4" } else { "1" };
        instance.deploy(&format!("f{number}"), CODE, &[&flags[..], &[concurrency]].concat());
    }
    let outcomes = invoke_all(&instance, invocations / 5);
    let mut before = Rest::of(&instance);
    before.counts[4] += VIEWS;
    eprintln!("after {}: {before:?} {outcomes:?}", invocations / 5);
    let outcomes = invoke_all(&instance, invocations - invocations / 5);
    let mut now = Rest::of(&instance);
    eprintln!("after {invocations}: {now:?} {outcomes:?}");
    eventually("no more is there than before", || {
        now = Rest::of(&instance);
        now.is_within(&before)
    });
    // Blocks, and what is written before it is seen to be too much.
    assert!(now.logs <= 2 * LOGS * FUNCTIONS as u64, "{now:?}");
}

/// Invokes functions in every way; returns the number of each outcome.
fn invoke_all(instance: &Instance, count: usize) -> BTreeMap<String, usize> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
                    let mut client = Client::connect(&instance.run()).unwrap();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return outcomes;
                        }
                        let ended = invoke(instance, &mut client, number);
                        *outcomes.entry(ended).or_default() += 1;
                    }
                })
            })
            .collect();
        let mut outcomes = BTreeMap::new();
        for client in clients {
            for (ended, times) in client.join().unwrap() {
                *outcomes.entry(ended).or_default() += times;
            }
        }
        outcomes
    })
}

/// Invokes once, in a way that depends on the number; returns the outcome.
fn invoke(instance: &Instance, client: &mut Client, number: usize) -> String {
    // Neighbours differ, and each function meets everything.
    let function = format!("f{}", number * 7 % FUNCTIONS);
    match number % 1000 {
        0 => {
            let name = format!("again{}", number / 1000 % 3);
            instance.deploy(&name, &format!("{CODE}\n# {number}\n"), &["--env", "e0"]);
            return "deployed".to_owned();
        }
        500 => {
            instance.ok(&["evict"]);
            return "evicted".to_owned();
        }
        _ => {}
    }
    let event = match number % 100 {
        0..=4 => "raise",
        5..=9 => "print",
        10..=11 => "end",
        12..=14 => "files",
        15..=16 => "stream",
        17 => "leave",
        18 => "later",
        _ => "echo",
    };
    let payload = RawValue::from_string(json!(event).to_string()).unwrap();
    let deadline_ms = Some(60_000);
    match event {
        "stream" => {
            let request =
                Request::InvokeStreamed { function, payload, deadline_ms, has_body: false };
            let mut length = 0;
            let reply = client.stream(&request, None, &mut |_| {}, &mut |given| {
                if let Given::Part(part) = given {
                    length += part.len();
                }
                Ok(())
            });
            assert_eq!(ended(reply.unwrap()), ("done".to_owned(), Value::Null));
            assert_eq!(length, 100_000);
            "streamed".to_owned()
        }
        "later" => {
            let reply = client.call(&Request::InvokeAsync { function, payload }, &mut |_| {});
            assert!(matches!(reply.unwrap(), Reply::Accepted(_)));
            "accepted".to_owned()
        }
        "leave" => {
            let mut command = instance.command();
            let mut child = command.args(["invoke", &function, "-d", "\"leave\""]).spawn().unwrap();
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(child.id().cast_signed()),
                Signal::SIGKILL,
            )
            .unwrap();
            child.wait().unwrap();
            "left".to_owned()
        }
        _ => {
            let request = Request::Invoke { function, payload, deadline_ms };
            let (outcome, result) = ended(client.call(&request, &mut |_| {}).unwrap());
            if outcome == "done" {
                assert_eq!(result, json!(event));
            } else {
                assert!(
                    ["raise", "end"].contains(&event) || outcome.contains("ExitError"),
                    "{outcome}"
                );
            }
            outcome
        }
    }
}

fn ended(reply: Reply) -> (String, Value) {
    let Reply::Invocation(Invocation { result, error, .. }) = reply else { panic!("{reply:?}") };
    let result = result.map_or(Value::Null, |result| serde_json::from_str(result.get()).unwrap());
    (error.map_or_else(|| "done".to_owned(), |error| error.error_type), result)
}
