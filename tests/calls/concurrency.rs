//! Concurrent calls: in one sandbox, in several, and waiting for a turn.
//!
//! Handlers wait for a file that the test puts beside their code, so order is known and time is not
//! measured.

use std::process::{Child, Stdio};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Instance, Options, Output, eventually};
use crate::tests;

tests!(
    several_meet_in_one_sandbox,
    what_is_printed_at_once_is_told_apart,
    who_is_late_takes_nobody_along,
    who_ends_the_process_is_told_to_all,
    several_at_once_are_served_by_what_was_paused,
    there_are_as_many_sandboxes_as_a_function_may_have,
    there_are_as_many_sandboxes_as_the_machine_may_have,
    the_queue_is_bounded,
    who_cannot_begin_in_time_is_refused,
    what_is_hopeless_is_refused_at_once,
    a_flood_leaves_others_their_turn,
    a_sandbox_of_many_leaves_others_their_turn,
    a_client_that_leaves_leaves_the_queue,
);

/// Answers with its event once a file of that name is beside its code.
const HELD: &str = "
import os, time

def handler(event):
    while not os.path.exists(f'/function/{event}'):
        time.sleep(0.01)
    return event
";

fn with(variables: &[(&'static str, &str)]) -> Instance {
    let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Instance::start(&Options { variables, ..Options::default() })
}

/// Lets the handlers of a function that wait for `event` go on.
fn release(instance: &Instance, function: &str, event: &str) {
    let code = instance.state().join("functions").join(function).join("code-1");
    std::fs::write(code.join(event), "").unwrap();
}

fn begin<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    instance: &'scope Instance,
    function: &'scope str,
    event: &'scope str,
) -> ScopedJoinHandle<'scope, Value> {
    scope.spawn(move || instance.invoke(function, &json!(event)))
}

fn running(instance: &Instance) -> usize {
    let status = instance.status();
    let sandboxes = status["sandboxes"].as_array().unwrap();
    sandboxes.iter().filter(|sandbox| sandbox["state"] == "running").count()
}

fn await_running(instance: &Instance, count: usize) {
    eventually("as many run as should", || running(instance) == count);
}

fn await_waiting(instance: &Instance, waiting: &Value) {
    eventually("as many wait as should", || instance.status()["waiting"] == *waiting);
}

fn refused(output: &Output, says: &str) {
    assert_eq!(output.code, 5, "{output:?}");
    assert!(output.stderr.contains(says), "{output:?}");
}

fn several_meet_in_one_sandbox() {
    let instance = Instance::start(&Options::default());
    let code = "
import os, threading

meeting = threading.Barrier(4)

def handler(event):
    meeting.wait(25)
    return [event, os.getpid()]
";
    instance.deploy("meet", code, &["--concurrency", "4", "--sandboxes", "1"]);
    for _ in 0..2 {
        let answers: Vec<_> = thread::scope(|scope| {
            let instance = &instance;
            let call = |n| (n, scope.spawn(move || instance.invoke("meet", &json!(n))));
            let calls: Vec<_> = (0..4).map(call).collect();
            calls.into_iter().map(|(n, call)| (n, call.join().unwrap())).collect()
        });
        for (n, answer) in &answers {
            assert_eq!(answer["result"][0], *n, "{answer}");
            assert_eq!(answer["result"][1], answers[0].1["result"][1], "{answers:?}");
        }
    }
    let sandboxes = instance.status()["sandboxes"].clone();
    assert_eq!(sandboxes.as_array().unwrap().len(), 1, "{sandboxes}");
    assert_eq!(sandboxes[0]["invocations"], 8);
}

fn what_is_printed_at_once_is_told_apart() {
    let instance = Instance::start(&Options::default());
    let code = "
import logging, os, sys, threading

meeting = threading.Barrier(3)
logging.basicConfig(format='%(message)s')

def handler(event):
    meeting.wait(25)
    print('one', event)
    meeting.wait(25)
    logging.warning('two %s', event)
    meeting.wait(25)
    print('three', event, end='', file=sys.stderr)
    if event == 0:
        print('x' * 100_000)
    return os.write(1, b'')
";
    instance.deploy("print", code, &["--concurrency", "3", "--sandboxes", "1"]);
    thread::scope(|scope| {
        let instance = &instance;
        let call = |n| scope.spawn(move || (n, instance.invoke("print", &json!(n))));
        for call in (0..3).map(call).collect::<Vec<_>>() {
            let (n, answer) = call.join().unwrap();
            let more = if n == 0 { format!("{}\n", "x".repeat(100_000)) } else { String::new() };
            assert_eq!(answer["logs"], format!("one {n}\ntwo {n}\nthree {n}{more}"), "{answer}");
        }
    });
}

/// The sandbox ends with all its processes when no call is left in it.
fn who_is_late_takes_nobody_along() {
    let instance = Instance::start(&Options { tiers: Some("paused,ssd"), ..Options::default() });
    let code = "
import os, subprocess, time

def handler(event):
    if event == 'late':
        subprocess.Popen(['sleep', '1000'])
        time.sleep(1000)
    while not os.path.exists('/function/go'):
        time.sleep(0.01)
    return os.getpid()
";
    instance.deploy("late", code, &["--concurrency", "2", "--sandboxes", "1", "--timeout", "5"]);
    thread::scope(|scope| {
        let late = begin(scope, &instance, "late", "late");
        await_running(&instance, 1);
        eventually("its child is there", || instance.sandboxed().len() >= 3);
        assert_eq!(late.join().unwrap()["error"]["errorType"], "Runtime.Timeout");
    });
    eventually("nothing of it is left", || instance.sandboxed().is_empty());
    thread::scope(|scope| {
        let late = begin(scope, &instance, "late", "late");
        eventually("its child is there", || instance.sandboxed().len() >= 3);
        // It may go on for as long after the other is told.
        thread::sleep(Duration::from_secs(2));
        let other = begin(scope, &instance, "late", "other");
        eventually("both are inside", || instance.status()["sandboxes"][0]["invocations"] == 2);
        // It is in the sandbox with the other's end, and goes on after that.
        assert_eq!(late.join().unwrap()["error"]["errorType"], "Runtime.Timeout");
        release(&instance, "late", "go");
        let answer = other.join().unwrap();
        assert!(answer["result"].is_u64(), "{answer}");
    });
    eventually("nothing of it is left", || instance.sandboxed().is_empty());
}

fn who_ends_the_process_is_told_to_all() {
    let instance = Instance::start(&Options::default());
    let code = "
import os, threading

meeting = threading.Barrier(2)

def handler(event):
    print('in', event)
    meeting.wait(25)
    if event == 0:
        os._exit(3)
    meeting.wait(25)
";
    instance.deploy("end", code, &["--concurrency", "2", "--sandboxes", "1"]);
    thread::scope(|scope| {
        let instance = &instance;
        let call = |n| scope.spawn(move || (n, instance.invoke("end", &json!(n))));
        for call in (0..2).map(call).collect::<Vec<_>>() {
            let (n, answer) = call.join().unwrap();
            assert_eq!(answer["error"]["errorType"], "Runtime.ExitError", "{answer}");
            let message = answer["error"]["errorMessage"].to_string();
            assert!(message.contains("exited with status 3"), "{answer}");
            assert_eq!(answer["logs"], format!("in {n}\n"));
        }
    });
    // A handler that cannot be loaded is told to all, too.
    instance.deploy("bad", "import absent\n", &["--concurrency", "2", "--handler", "bad.f"]);
    thread::scope(|scope| {
        let instance = &instance;
        let call = |_| scope.spawn(|| instance.invoke("bad", &json!(1)));
        for call in (0..2).map(call).collect::<Vec<_>>() {
            let answer = call.join().unwrap();
            assert_eq!(answer["error"]["errorType"], "Runtime.ImportModuleError", "{answer}");
        }
    });
    assert_eq!(instance.status()["sandboxes"], json!([]));
}

fn several_at_once_are_served_by_what_was_paused() {
    let instance = Instance::start(&Options::default());
    let code = "
import os

def handler(event):
    return os.getpid()
";
    instance.deploy("kept", code, &["--concurrency", "5"]);
    let first = instance.invoke("kept", &json!(1));
    for _ in 0..3 {
        let next = instance.invoke("kept", &json!(1));
        assert_eq!((&next["tier"], &next["result"]), (&json!("paused"), &first["result"]));
    }
    instance.await_zygotes();
    instance.ok(&["evict", "--paused"]);
    let forked = instance.invoke("kept", &json!(1));
    assert_eq!(forked["tier"], "zygote", "{forked}");
    assert_eq!(instance.invoke("kept", &json!(1))["tier"], "paused");
}

fn there_are_as_many_sandboxes_as_a_function_may_have() {
    let instance = Instance::start(&Options::default());
    instance.deploy("held", HELD, &["--sandboxes", "2"]);
    thread::scope(|scope| {
        let calls: Vec<_> = (0..5).map(|_| begin(scope, &instance, "held", "go")).collect();
        await_waiting(&instance, &json!({ "held": 3 }));
        await_running(&instance, 2);
        release(&instance, "held", "go");
        for call in calls {
            assert_eq!(call.join().unwrap()["result"], "go");
        }
    });
    let sandboxes = instance.status()["sandboxes"].clone();
    assert_eq!(sandboxes.as_array().unwrap().len(), 2, "{sandboxes}");
}

fn there_are_as_many_sandboxes_as_the_machine_may_have() {
    let instance = with(&[("PIPSQUEAK_SANDBOXES", "3")]);
    for name in ["one", "two"] {
        instance.deploy(name, HELD, &["--concurrency", if name == "one" { "1" } else { "2" }]);
    }
    thread::scope(|scope| {
        let mut calls: Vec<_> = (0..2).map(|_| begin(scope, &instance, "one", "go")).collect();
        await_running(&instance, 2);
        calls.extend((0..3).map(|_| begin(scope, &instance, "two", "go")));
        // Two of them are in the one place that was left.
        await_waiting(&instance, &json!({ "two": 1 }));
        await_running(&instance, 3);
        for name in ["one", "two"] {
            release(&instance, name, "go");
        }
        for call in calls {
            assert_eq!(call.join().unwrap()["result"], "go");
        }
    });
}

fn the_queue_is_bounded() {
    let instance = with(&[("PIPSQUEAK_QUEUE", "2")]);
    instance.deploy("held", HELD, &["--sandboxes", "1"]);
    // Those that wait for the environment to be made count among those that wait, with a bound of their own.
    release(&instance, "held", "first");
    assert_eq!(instance.invoke("held", &json!("first"))["result"], "first");
    thread::scope(|scope| {
        let calls: Vec<_> = (0..3).map(|_| begin(scope, &instance, "held", "go")).collect();
        await_waiting(&instance, &json!({ "held": 2 }));
        let output = instance.call(&["invoke", "held", "-d", "\"go\""]);
        refused(
            &output,
            "an invocation of held is refused: the queue of function `held` is full (2 waiting)",
        );
        release(&instance, "held", "go");
        for call in calls {
            assert_eq!(call.join().unwrap()["result"], "go");
        }
    });
    assert_eq!(instance.invoke("held", &json!("go"))["result"], "go");
}

fn who_cannot_begin_in_time_is_refused() {
    let instance = Instance::start(&Options::default());
    instance.deploy("held", HELD, &["--sandboxes", "1"]);
    thread::scope(|scope| {
        let call = begin(scope, &instance, "held", "go");
        await_running(&instance, 1);
        let invoke = ["invoke", "held", "-d", "\"go\"", "--deadline", "0.2"];
        refused(&instance.call(&invoke), "its turn has not come within 200 ms");
        assert_eq!(instance.status()["waiting"], json!({}));
        release(&instance, "held", "go");
        assert_eq!(call.join().unwrap()["result"], "go");
        let output = instance.call(&invoke);
        assert_eq!((output.code, output.stdout.as_str()), (0, "\"go\"\n"));
    });
    drop(instance);
    // Where nothing else is said, as long as it may run.
    let instance = with(&[("PIPSQUEAK_SANDBOXES", "1")]);
    instance.deploy("held", HELD, &[]);
    instance.deploy("short", HELD, &["--timeout", "1"]);
    thread::scope(|scope| {
        let call = begin(scope, &instance, "held", "go");
        await_running(&instance, 1);
        refused(&instance.call(&["invoke", "short"]), "its turn has not come within 1000 ms");
        release(&instance, "held", "go");
        assert_eq!(call.join().unwrap()["result"], "go");
    });
}

fn what_is_hopeless_is_refused_at_once() {
    let instance = Instance::start(&Options::default());
    let code = "
import os, time

def handler(event):
    time.sleep(2)
    while event and not os.path.exists('/function/go'):
        time.sleep(0.01)
";
    instance.deploy("slow", code, &["--sandboxes", "1"]);
    instance.invoke("slow", &json!(0));
    thread::scope(|scope| {
        let call = begin(scope, &instance, "slow", "held");
        await_running(&instance, 1);
        let hopeless = instance.call(&["invoke", "slow", "--deadline", "1.5"]);
        refused(&hopeless, "exceeds the limit of 1.5 s");
        release(&instance, "slow", "go");
        call.join().unwrap();
    });
}

fn a_flood_leaves_others_their_turn() {
    let instance = with(&[("PIPSQUEAK_SANDBOXES", "2")]);
    instance.deploy("flood", HELD, &[]);
    instance.deploy("quiet", "def handler(event): return event\n", &[]);
    thread::scope(|scope| {
        let first = [begin(scope, &instance, "flood", "1"), begin(scope, &instance, "flood", "2")];
        await_running(&instance, 2);
        let calls: Vec<_> = (0..12).map(|_| begin(scope, &instance, "flood", "go")).collect();
        await_waiting(&instance, &json!({ "flood": 12 }));
        let quiet = begin(scope, &instance, "quiet", "q");
        await_waiting(&instance, &json!({ "flood": 12, "quiet": 1 }));
        // One place is free: of all that wait it goes to the one who has come last.
        release(&instance, "flood", "1");
        assert_eq!(quiet.join().unwrap()["result"], "q");
        for event in ["2", "go"] {
            release(&instance, "flood", event);
        }
        for call in first.into_iter().chain(calls) {
            assert!(call.join().unwrap()["result"].is_string());
        }
    });
}

fn a_sandbox_of_many_leaves_others_their_turn() {
    let instance = with(&[("PIPSQUEAK_SANDBOXES", "1")]);
    instance.deploy("flood", HELD, &["--concurrency", "2"]);
    instance.deploy("quiet", "def handler(event): return event\n", &[]);
    thread::scope(|scope| {
        let first = [begin(scope, &instance, "flood", "1"), begin(scope, &instance, "flood", "2")];
        await_running(&instance, 1);
        let calls: Vec<_> = (0..4).map(|_| begin(scope, &instance, "flood", "go")).collect();
        await_waiting(&instance, &json!({ "flood": 4 }));
        let quiet = begin(scope, &instance, "quiet", "q");
        await_waiting(&instance, &json!({ "flood": 4, "quiet": 1 }));
        // The only place is promised: nobody comes after the one who leaves it.
        release(&instance, "flood", "1");
        let [one, two] = first;
        assert_eq!(one.join().unwrap()["result"], "1");
        assert_eq!(instance.status()["waiting"], json!({ "flood": 4, "quiet": 1 }));
        release(&instance, "flood", "2");
        assert_eq!(two.join().unwrap()["result"], "2");
        assert_eq!(quiet.join().unwrap()["result"], "q");
        release(&instance, "flood", "go");
        for call in calls {
            assert_eq!(call.join().unwrap()["result"], "go");
        }
    });
}

fn a_client_that_leaves_leaves_the_queue() {
    let instance = Instance::start(&Options::default());
    instance.deploy("held", HELD, &["--sandboxes", "1"]);
    // One that is small and one that is not read at once.
    let large = instance.scratch().join("large");
    std::fs::write(&large, format!("\"{}\"", "x".repeat(1 << 20))).unwrap();
    let large = format!("@{}", large.display());
    thread::scope(|scope| {
        let call = begin(scope, &instance, "held", "go");
        await_running(&instance, 1);
        for event in ["\"go\"", &large] {
            let mut client = spawn(&instance, event);
            await_waiting(&instance, &json!({ "held": 1 }));
            kill(Pid::from_raw(i32::try_from(client.id()).unwrap()), Signal::SIGKILL).unwrap();
            client.wait().unwrap();
            await_waiting(&instance, &json!({}));
        }
        // One that has said more of its body than anybody reads.
        let body = instance.scratch().join("body");
        std::fs::write(&body, vec![b'x'; 16 << 20]).unwrap();
        let mut client = instance.command();
        client.args(["invoke", "held", "-d", "\"go\"", "--body", &format!("@{}", body.display())]);
        let mut client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        await_waiting(&instance, &json!({ "held": 1 }));
        client.kill().unwrap();
        client.wait().unwrap();
        await_waiting(&instance, &json!({}));
        release(&instance, "held", "go");
        assert_eq!(call.join().unwrap()["result"], "go");
    });
    let sandboxes = instance.status()["sandboxes"].clone();
    assert_eq!(sandboxes[0]["invocations"], 1, "{sandboxes}");
}

fn spawn(instance: &Instance, event: &str) -> Child {
    let mut client = instance.command();
    client.args(["invoke", "held", "-d", event]).stdout(Stdio::null()).stderr(Stdio::null());
    client.spawn().unwrap()
}
