//! Faults of the past.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Instance, Options};
use crate::tests;

tests!(
    what_is_printed_comes_with_its_own_invocation,
    a_payload_crosses_to_the_byte,
    a_sandbox_that_is_being_made_does_not_hold_up_the_end,
);

/// Output in the pipe at the time of the answer was once attributed to the next invocation.
fn what_is_printed_comes_with_its_own_invocation() {
    let instance = Instance::start(&Options::default());
    let code = "
import os, sys

def handler(event):
    print('out', event)
    print('err', event, file=sys.stderr)
    os.system(f'echo child {event}')
    return event
";
    instance.deploy("chatty", code, &[]);
    for n in 0..30 {
        let answer = instance.invoke("chatty", &json!(n));
        let mut lines: Vec<_> = answer["logs"].as_str().unwrap().lines().collect();
        lines.sort_unstable();
        let expected = ["child", "err", "out"].map(|word| format!("{word} {n}"));
        assert_eq!(lines, expected, "{answer}");
    }
    let code = "def handler(event): print('x' * event)\n";
    instance.deploy("flood", code, &[]);
    let much = instance.invoke("flood", &json!(1 << 20));
    let logs = much["logs"].as_str().unwrap();
    assert!(logs.len() < 300 << 10 && logs.contains("more bytes were not kept"));
}

/// A tagged enum once buffered the payload and could not give it back unchanged.
fn a_payload_crosses_to_the_byte() {
    let instance = Instance::start(&Options::default());
    instance.deploy("echo", "def handler(event): return event\n", &[]);
    let text = "\"\\u00e9 \\ud83e\\uddc0 \\\\ \\\" \\u0000\"";
    let output = instance.call(&["invoke", "echo", "-d", text]);
    assert_eq!(output.stdout.trim(), text);
    let large = format!("\"{}\"", "x".repeat(5 << 20));
    assert_eq!(instance.call_with(&["invoke", "echo", "-d", "-"], &large).stdout.trim(), large);
    let too_large = format!("\"{}\"", "x".repeat(6 << 20));
    assert_eq!(instance.call_with(&["invoke", "echo", "-d", "-"], &too_large).code, 5);
}

/// A holder once made after the last message to the thread that removes sandboxes led to a
/// deadlock: its maker waited for it, the supervisor for the maker, and the holder for the
/// supervisor.
fn a_sandbox_that_is_being_made_does_not_hold_up_the_end() {
    let instance = Instance::start(&Options::default());
    instance.deploy("echo", "def handler(event): return event\n", &[]);
    instance.invoke("echo", &json!(1));
    for round in 0..20 {
        // What follows the answer: a zygote's sandbox and its interpreter are being made.
        instance.ok(&["evict"]);
        instance.invoke("echo", &json!(1));
        std::thread::sleep(Duration::from_millis(round / 2));
        instance.ok(&["down"]);
        instance.up();
    }
}
