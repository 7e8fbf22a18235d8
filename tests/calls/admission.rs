//! Admission of calls while others wait for an index that never answers.

use std::process::{Child, Stdio};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Instance, Options, Silent, eventually, patience, write};
use crate::tests;

tests!(
    an_index_that_does_not_answer_stops_nobody_else,
    all_who_wait_for_an_environment_share_its_failure,
    events_of_others_pass_those_that_wait_for_an_index,
    each_start_makes_its_own_environment_outside_of_the_places,
    calls_that_ran_into_a_timeout_refuse_nobody,
    slow_calls_of_before_refuse_nobody,
);

const ECHO: &str = "def handler(event): return event\n";

/// Starts an instance with few places whose index does not answer.
fn start(index: &Silent, tiers: Option<&'static str>) -> Instance {
    let variables = vec![
        ("UV_DEFAULT_INDEX", index.url()),
        ("PIPSQUEAK_SANDBOXES", "2".to_owned()),
        ("PIPSQUEAK_QUEUE", "30".to_owned()),
        // For as long as the test takes.
        ("UV_HTTP_TIMEOUT", "600".to_owned()),
    ];
    Instance::start(&Options { tiers, variables, ..Options::default() })
}

/// Deploys a function that needs a package of the index.
fn deploy_broken(instance: &Instance, name: &str) {
    let file = write(&instance.scratch(), &format!("{name}.txt"), &format!("{name}-package\n"));
    instance.deploy(name, ECHO, &["-r", file.to_str().unwrap()]);
}

fn call(instance: &Instance, name: &str) -> Child {
    let mut client = instance.command();
    client.args(["invoke", name]).stdout(Stdio::null()).stderr(Stdio::piped());
    client.spawn().unwrap()
}

fn await_waiting(instance: &Instance, waiting: &Value) {
    eventually("as many wait as should", || instance.status()["waiting"] == *waiting);
}

fn end(clients: Vec<Child>) {
    for mut client in clients {
        client.kill().unwrap();
        client.wait().unwrap();
    }
}

fn an_index_that_does_not_answer_stops_nobody_else() {
    let index = Silent::start();
    let instance = start(&index, None);
    instance.deploy("warm", ECHO, &[]);
    assert_eq!(instance.invoke("warm", &json!(1))["tier"], "cold");
    let names = ["one", "two"];
    for name in names {
        deploy_broken(&instance, name);
    }
    let clients: Vec<_> = (0..32).map(|at| call(&instance, names[at % 2])).collect();
    await_waiting(&instance, &json!({ "one": 16, "two": 16 }));
    eventually("both are asked for", || index.asked() >= 2);
    for n in 0..10 {
        assert_eq!(instance.invoke("warm", &json!(n))["result"], n);
    }
    // One that is new but needs nothing from there, too.
    instance.deploy("new", ECHO, &[]);
    assert_eq!(instance.invoke("new", &json!(1))["result"], 1);
    // Who waits for an environment waits as long as the deadline says, and in a queue that has an end.
    let late = instance.call(&["invoke", "one", "--deadline", "0.5"]);
    assert_eq!(late.code, 5, "{late:?}");
    assert!(late.stderr.contains("its environment was not there within 0.5 s"), "{late:?}");
    let more: Vec<_> = (0..16).map(|_| call(&instance, "one")).collect();
    await_waiting(&instance, &json!({ "one": 32, "two": 16 }));
    let full = instance.call(&["invoke", "one"]);
    assert_eq!(full.code, 5, "{full:?}");
    assert!(full.stderr.contains("the queue of function `one` is full (32 waiting)"), "{full:?}");
    end(clients);
    end(more);
    await_waiting(&instance, &json!({}));
    assert_eq!(instance.invoke("warm", &json!(2))["tier"], "paused");
    // What nobody waits for holds up no end.
    let client = call(&instance, "two");
    await_waiting(&instance, &json!({ "two": 1 }));
    instance.ok(&["down"]);
    end(vec![client]);
}

fn all_who_wait_for_an_environment_share_its_failure() {
    let index = Silent::start();
    let instance = start(&index, None);
    deploy_broken(&instance, "one");
    let clients: Vec<_> = (0..12).map(|_| call(&instance, "one")).collect();
    await_waiting(&instance, &json!({ "one": 12 }));
    eventually("it is asked for", || index.asked() > 0);
    index.answer();
    let mut said = Vec::new();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        said.push(String::from_utf8(output.stderr).unwrap());
    }
    assert!(said.iter().all(|one| one.contains("one-package") && *one == said[0]), "{said:?}");
    assert_eq!(index.asked(), 1);
    // A later one has it tried again.
    assert_eq!(instance.call(&["invoke", "one"]).code, 2);
    assert_eq!(index.asked(), 2);
}

fn events_of_others_pass_those_that_wait_for_an_index() {
    let index = Silent::start();
    let instance = start(&index, None);
    instance.deploy("warm", "def handler(event): print('came', event)\n", &[]);
    instance.invoke("warm", &json!(0));
    for name in 0..12 {
        let name = format!("broken{name}");
        deploy_broken(&instance, &name);
        for _ in 0..4 {
            instance.ok(&["invoke", &name, "--async"]);
        }
    }
    eventually("they wait", || instance.status()["events"]["running"].as_u64() >= Some(8));
    instance.ok(&["invoke", "warm", "--async", "-d", "7"]);
    eventually("it is carried out", || instance.ok(&["logs", "warm"]).contains("came 7"));
}

fn each_start_makes_its_own_environment_outside_of_the_places() {
    let index = Silent::start();
    let instance = start(&index, Some("paused"));
    instance.deploy("warm", ECHO, &[]);
    assert_eq!(instance.invoke("warm", &json!(1))["tier"], "cold");
    deploy_broken(&instance, "one");
    let clients: Vec<_> = (0..4).map(|_| call(&instance, "one")).collect();
    await_waiting(&instance, &json!({ "one": 4 }));
    eventually("they ask for it", || index.asked() > 0);
    assert_eq!(instance.invoke("warm", &json!(2))["tier"], "paused");
    end(clients);
    await_waiting(&instance, &json!({}));
    instance.ok(&["evict"]);
    assert_eq!(instance.invoke("warm", &json!(3))["tier"], "cold");
}

/// Makes a hundred calls of 0.2 s, thirty at once; all are answered.
fn a_hundred(instance: &Instance, name: &str) {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..30)
            .map(|at| {
                let count = if at < 10 { 4 } else { 3 };
                scope.spawn(move || {
                    for _ in 0..count {
                        let output = instance.call(&["invoke", name, "-d", "0.2"]);
                        assert_eq!(output.code, 0, "{output:?}");
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

const SLEEP: &str = "
import time

def handler(event):
    time.sleep(event)
    return 'ok'
";

fn calls_that_ran_into_a_timeout_refuse_nobody() {
    let instance = Instance::start(&Options::default());
    let limit = patience(15).as_secs();
    instance.deploy("f", SLEEP, &["--timeout", &limit.to_string()]);
    for _ in 0..2 {
        assert_eq!(instance.call(&["invoke", "f", "-d", &(2 * limit).to_string()]).code, 5);
    }
    a_hundred(&instance, "f");
}

fn slow_calls_of_before_refuse_nobody() {
    let instance = Instance::start(&Options::default());
    let limit = patience(15).as_secs();
    instance.deploy("f", SLEEP, &["--timeout", &limit.to_string()]);
    for _ in 0..2 {
        assert_eq!(instance.call(&["invoke", "f", "-d", &(limit - 2).to_string()]).code, 0);
    }
    a_hundred(&instance, "f");
}
