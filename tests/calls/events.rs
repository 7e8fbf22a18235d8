//! Asynchronous events and schedules.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Instance, Options, eventually};
use crate::tests;

tests!(
    a_removal_beside_a_deployment_loses_no_event,
    an_event_is_accepted_carried_out_and_forgotten,
    a_failing_event_is_tried_again_and_then_a_dead_letter,
    what_does_not_come_to_its_function_grows_too_old,
    what_cannot_be_accepted_is_refused,
    a_flood_of_events_leaves_room_for_others,
    a_schedule_makes_events,
    events_go_with_their_function,
);

/// Sends an event to a function; returns its id.
fn enqueue(instance: &Instance, function: &str, payload: &Value) -> String {
    let id = instance.ok(&["invoke", function, "--async", "-d", &payload.to_string()]);
    id.trim().to_owned()
}

fn events(instance: &Instance, arguments: &[&str]) -> Vec<Value> {
    let listed = instance.json(&[&["events", "ls", "--json"], arguments].concat());
    listed.as_array().unwrap().clone()
}

/// The number of times that an event's function has begun.
fn starts(instance: &Instance, function: &str, id: &str) -> usize {
    instance.ok(&["logs", function, "--request", id]).matches("START RequestId: ").count()
}

fn await_none(instance: &Instance) {
    eventually("all events are done", || events(instance, &[]).is_empty());
}

fn an_event_is_accepted_carried_out_and_forgotten() {
    let instance = Instance::start(&Options::default());
    let code = "
import time

def handler(event, context):
    time.sleep(1)
    print(context.aws_request_id, event)
";
    instance.deploy("later", code, &[]);
    let accepted = instance.json(&["invoke", "later", "--event", "-d", "[1]", "--json"]);
    assert_eq!(accepted["function"], "later");
    let id = accepted["id"].as_str().unwrap();
    let shown = instance.json(&["events", "show", id, "--json"]);
    assert_eq!((&shown["payload"], &shown["origin"]), (&json!([1]), &json!("invoke")), "{shown}");
    eventually("it runs", || instance.status()["events"]["running"] == 1);
    let running = instance.call(&["events", "rm", id]);
    assert!(running.code == 2 && running.stderr.contains("is running"), "{running:?}");
    await_none(&instance);
    assert_eq!(instance.status()["events"], json!({"pending": 0, "running": 0, "dead": 0}));
    let text = instance.ok(&["logs", "later", "--request", id]);
    assert!(text.contains(&format!("{id} {id} [1]\n")), "{text}");
    assert_eq!(starts(&instance, "later", id), 1);
    let done = instance.call(&["events", "show", id]);
    assert!(done.code == 4 && done.stderr.contains("events ls"), "{done:?}");
}

fn a_failing_event_is_tried_again_and_then_a_dead_letter() {
    let instance = Instance::start(&Options::default());
    let bad = "def handler(event): raise ValueError('not yet')\n";
    let flags = ["--retries", "2", "--backoff", "1.5"];
    instance.deploy("flaky", bad, &flags);
    let first = enqueue(&instance, "flaky", &json!({"n": 1}));
    let second = enqueue(&instance, "flaky", &json!({"n": 2}));
    eventually("it waits for its second attempt", || {
        let event = instance.json(&["events", "show", &first, "--json"]);
        event["attempts"] == 1 && event["state"] == "pending" && event["next"].is_string()
    });
    eventually("both are dead", || events(&instance, &["flaky", "--dead"]).len() == 2);
    assert_eq!(starts(&instance, "flaky", &first), 3);
    // Each wait is at least twice as long as the one before.
    let times = attempts(&instance, &first);
    let between = |from: f64, to: f64| (to - from).rem_euclid(24.0 * 3600.0);
    assert!(between(times[0], times[1]) >= 1.5, "{times:?}");
    assert!(between(times[1], times[2]) >= 3.0, "{times:?}");
    let dead = instance.json(&["events", "show", &first, "--json"]);
    assert_eq!(dead["condition"], "RetriesExhausted");
    assert_eq!((&dead["attempts"], &dead["next"]), (&json!(3), &json!(null)), "{dead}");
    assert_eq!(dead["error"]["errorMessage"], "not yet");
    assert_eq!(dead["payload"], json!({"n": 1}));
    let text = instance.ok(&["events", "show", &first]);
    assert!(text.contains("ValueError: not yet\n"), "{text}");
    assert_eq!(instance.status()["events"]["dead"], 2);
    // They outlive the supervisor.
    instance.ok(&["down"]);
    instance.up();
    assert_eq!(events(&instance, &["--dead"]).len(), 2);
    instance.deploy("flaky", "def handler(event): print('good', event)\n", &flags);
    instance.ok(&["events", "retry", &first]);
    instance.ok(&["events", "rm", &second]);
    await_none(&instance);
    eventually("what it printed is kept", || {
        let text = instance.ok(&["logs", "flaky", "--request", &first]);
        text.contains("good {'n': 1}\n")
    });
    for verb in ["retry", "rm"] {
        assert_eq!(instance.call(&["events", verb, &second]).code, 4);
    }
}

/// The times at which an event's attempts began, in seconds after midnight.
fn attempts(instance: &Instance, id: &str) -> Vec<f64> {
    let text = instance.ok(&["logs", "flaky", "--request", id, "--json"]);
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let starts = records.filter(|r| r["text"].as_str().unwrap().starts_with("START"));
    starts
        .map(|record| {
            let time = record["time"].as_str().unwrap();
            let of_day = time.split(['T', 'Z']).nth(1).unwrap();
            let fields = of_day.split(':').map(|field| field.parse::<f64>().unwrap());
            fields.fold(0.0, |sum, field| sum * 60.0 + field)
        })
        .collect()
}

fn what_does_not_come_to_its_function_grows_too_old() {
    let instance = Instance::start(&Options::default());
    // No interpreter fits: every attempt is refused, which is no failure of the function.
    let flags = ["--memory", "64k", "--retries", "0", "--backoff", "0.2", "--max-age", "2"];
    instance.deploy("tiny", "def handler(event): return 1\n", &flags);
    let refused = instance.call(&["invoke", "tiny"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    let id = enqueue(&instance, "tiny", &json!({}));
    eventually("it is a dead letter", || events(&instance, &["--dead"]).len() == 1);
    let dead = instance.json(&["events", "show", &id, "--json"]);
    assert_eq!(dead["condition"], "EventAgeExceeded", "{dead}");
    assert_eq!(
        (&dead["attempts"], &dead["error"]["errorType"]),
        (&json!(0), &json!("Pipsqueak.Refused"))
    );
}

fn what_cannot_be_accepted_is_refused() {
    let instance = Instance::start(&Options::default());
    instance.deploy("later", "def handler(event): print(len(event))\n", &[]);
    assert_eq!(instance.call(&["invoke", "nobody", "--async"]).code, 4);
    assert_eq!(instance.call(&["events", "ls", "nobody"]).code, 4);
    assert_eq!(instance.call(&["events", "show", "1-2"]).code, 4);
    let of = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let most = of(1 << 20);
    let accepted = instance.call_with(&["invoke", "later", "--async", "-d", "-"], &most);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    let refused =
        instance.call_with(&["invoke", "later", "--async", "-d", "-"], &of((1 << 20) + 1));
    assert!(refused.code == 5 && refused.stderr.contains("1048576"), "{refused:?}");
    await_none(&instance);
    eventually("what it printed is kept", || {
        let text = instance.ok(&["logs", "later", "--request", accepted.stdout.trim()]);
        text.contains(" 1048574\n")
    });
}

fn a_flood_of_events_leaves_room_for_others() {
    let instance = Instance::start(&Options::default());
    let code = "
import time

def handler(event):
    time.sleep(event)
    return 'done'
";
    instance.deploy("busy", code, &["--sandboxes", "2"]);
    for _ in 0..10 {
        enqueue(&instance, "busy", &json!(1));
    }
    eventually("one runs", || instance.status()["events"]["running"] == 1);
    // The other place is free for whoever waits for an answer.
    for _ in 0..3 {
        let answer = instance.invoke("busy", &json!(0));
        assert_eq!(answer["result"], "done", "{answer}");
        let counts = instance.status()["events"].clone();
        assert!(counts["running"].as_u64().unwrap() <= 1, "{counts}");
        assert!(counts["pending"].as_u64().unwrap() > 0, "{counts}");
    }
    await_none(&instance);
}

fn a_schedule_makes_events() {
    let instance = Instance::start(&Options::default());
    let code = "
import json

def handler(event):
    print('EVENT', json.dumps(event))
";
    let flags = ["--schedule", "* * * * * *", "--schedule", "@yearly"];
    instance.deploy("clock", code, &flags);
    let shown = instance.json(&["functions", "show", "clock", "--json"]);
    assert_eq!(shown["schedules"], json!(["* * * * * *", "@yearly"]));
    assert!(shown["next_run"].as_str().is_some_and(|time| time.ends_with('Z')), "{shown}");
    let seen = || {
        let text = instance.ok(&["logs", "clock"]);
        let events = text.lines().filter_map(|line| line.split_once(" EVENT "));
        events.map(|(_, event)| serde_json::from_str(event).unwrap()).collect::<Vec<Value>>()
    };
    eventually("it has run by itself three times", || seen().len() >= 3);
    let seen = seen();
    assert_eq!(seen[0]["source"], "pipsqueak.schedule");
    assert_eq!(seen[0]["detail-type"], "Scheduled Event");
    let mut times: Vec<_> = seen.iter().map(|event| event["time"].to_string()).collect();
    times.dedup();
    assert_eq!(times.len(), seen.len(), "each time once: {times:?}");
    // It goes on after a restart, and ends with a deployment without it.
    instance.ok(&["down"]);
    instance.up();
    let count = || instance.ok(&["logs", "clock"]).matches(" EVENT ").count();
    let before = count();
    eventually("it goes on", || count() > before);
    instance.deploy("clock", code, &[]);
    await_none(&instance);
    let end = count();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(count() <= end + 1, "one may have been on its way");
    let bad = instance.scratch().join("clock.py");
    let refused = instance.call(&["deploy", "clock", bad.to_str().unwrap(), "--schedule", "daily"]);
    assert!(
        refused.code == 2 && refused.stderr.contains("\"daily\" is no schedule"),
        "{refused:?}"
    );
}

fn events_go_with_their_function() {
    let instance = Instance::start(&Options::default());
    instance.deploy("bad", "def handler(event): raise ValueError\n", &["--retries", "0"]);
    enqueue(&instance, "bad", &json!(1));
    eventually("it is a dead letter", || events(&instance, &["--dead"]).len() == 1);
    instance.ok(&["functions", "rm", "bad"]);
    assert!(events(&instance, &[]).is_empty());
}

/// Either may come first. A function that is there afterwards was deployed after the removal, and
/// has all its events.
fn a_removal_beside_a_deployment_loses_no_event() {
    let instance = Instance::start(&Options::default());
    let code = "def handler(event): print('came', event)\n";
    let file = instance.scratch().join("f.py");
    std::fs::write(&file, code).unwrap();
    let deploy = ["deploy", "f", file.to_str().unwrap()];
    for _ in 0..8 {
        instance.ok(&deploy);
        // It takes a while to remove them.
        for n in 0..5 {
            instance.ok(&["invoke", "f", "--async", "-d", &format!("\"old{n}\"")]);
        }
        let accepted = std::thread::scope(|scope| {
            let removal = scope.spawn(|| instance.ok(&["functions", "rm", "f"]));
            instance.ok(&deploy);
            let accept = |n: &usize| {
                let event = format!("\"new{n}\"");
                instance.call(&["invoke", "f", "--async", "-d", &event]).code == 0
            };
            let accepted: Vec<_> = (0..3).filter(accept).collect();
            removal.join().unwrap();
            accepted
        });
        if instance.call(&["functions", "show", "f"]).code != 0 {
            continue;
        }
        for n in accepted {
            let mark = format!("came new{n}");
            eventually("what was accepted is done", || instance.ok(&["logs", "f"]).contains(&mark));
        }
    }
}
