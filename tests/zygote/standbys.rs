//! Imports that no zygote may hold are made ahead in a process that waits for its function.

use serde_json::{Value, json};

use super::{index, instance};
use crate::harness::{Index, Instance, eventually};
use crate::tests;

tests!(
    what_may_not_be_forked_waits_imported,
    standbys_serve_those_alone_who_see_the_same,
    standbys_go_first_and_are_replaced,
    what_cannot_be_imported_ahead_is_not_tried_again,
);

/// Leaves a thread, which a fork would lose.
const THREADED: &str = "
import os, threading, time

HOME = os.environ.get('THREADED_HOME', 'none')
print('importing threaded')
threading.Thread(target=time.sleep, args=(1000000,), daemon=True, name='kept').start()
";

/// Leaves a file open.
const OPENED: &str = "import os\nopened = open(os.devnull)\n";

const FUNCTION: &str = "
import threaded, opened, six, os, threading

def handler(event):
    threads = [thread.name for thread in threading.enumerate()]
    return [threads.count('kept'), opened.opened.closed, threaded.HOME, os.environ.get('OWN')]
";

fn with_hazards() -> (Index, Instance) {
    let index = index(&["six"], &[("threaded", THREADED), ("opened", OPENED)]);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "hazardous", "threaded", "opened", "six"]);
    (index, instance)
}

fn standbys(instance: &Instance) -> u64 {
    instance.status()["standbys"].as_u64().unwrap()
}

/// Invokes a function until a standby waits for its next start.
fn await_standby(instance: &Instance, function: &str) {
    for _ in 0..4 {
        assert_eq!(instance.invoke(function, &json!({}))["outcome"], "done");
        instance.await_growth();
        let explained = instance.json(&["explain", function, "--json"]);
        instance.ok(&["evict", "--paused"]);
        if explained["standbys"].as_u64() > Some(0) {
            return;
        }
    }
    panic!("{}", instance.json(&["explain", function, "--json"]));
}

/// Invokes a function whose start must find imports made ahead; returns the answer.
fn started(instance: &Instance, function: &str) -> Value {
    let answer = instance.invoke(function, &json!({}));
    assert_eq!(
        (&answer["outcome"], &answer["tier"]),
        (&json!("done"), &json!("zygote")),
        "{answer}"
    );
    answer
}

fn what_may_not_be_forked_waits_imported() {
    let (_index, instance) = with_hazards();
    for flags in [&[][..], &["--concurrency", "8"]] {
        let flags = [&["--env", "hazardous", "--set", "OWN=1"], flags].concat();
        instance.deploy("function", FUNCTION, &flags);
        let fresh = instance.invoke("function", &json!({}));
        assert_eq!(fresh["result"], json!([1, false, "none", "1"]), "{fresh}");
        await_standby(&instance, "function");
        let answer = started(&instance, "function");
        assert_eq!(answer["result"], fresh["result"]);
        // As with an interpreter of its own, what is printed at an import is the first call's.
        assert_eq!(answer["logs"], "importing threaded\n");
        let paused = instance.invoke("function", &json!({}));
        assert_eq!((&paused["tier"], &paused["result"]), (&json!("paused"), &fresh["result"]));
        instance.ok(&["evict"]);
    }
}

fn standbys_serve_those_alone_who_see_the_same() {
    let (_index, instance) = with_hazards();
    instance.deploy("function", FUNCTION, &["--env", "hazardous"]);
    await_standby(&instance, "function");
    // Another function of the environment is served by it.
    instance.deploy("another", FUNCTION, &["--env", "hazardous", "--set", "OWN=2"]);
    assert_eq!(started(&instance, "another")["result"], json!([1, false, "none", "2"]));
    // One that imports nothing of it is not.
    let plain =
        "import six\ndef handler(event):\n    import sys\n    return 'threaded' in sys.modules\n";
    instance.await_growth();
    let before = standbys(&instance);
    instance.deploy("plain", plain, &["--env", "hazardous"]);
    assert_eq!(instance.invoke("plain", &json!({}))["result"], false);
    assert_eq!(standbys(&instance), before);
    // One for which the import reads something else gets its own.
    instance.deploy("homed", FUNCTION, &["--env", "hazardous", "--set", "THREADED_HOME=/there"]);
    for _ in 0..2 {
        let answer = instance.invoke("homed", &json!({}));
        assert_eq!(answer["result"], json!([1, false, "/there", null]), "{answer}");
        instance.ok(&["evict", "--paused"]);
    }
    await_standby(&instance, "homed");
    assert_eq!(started(&instance, "homed")["result"], json!([1, false, "/there", null]));
}

fn standbys_go_first_and_are_replaced() {
    let (_index, instance) = with_hazards();
    instance.deploy("function", FUNCTION, &["--env", "hazardous"]);
    await_standby(&instance, "function");
    started(&instance, "function");
    instance.await_growth();
    eventually("another waits", || standbys(&instance) > 0);
    instance.ok(&["evict"]);
    assert_eq!(standbys(&instance), 0);
    let answer = instance.invoke("function", &json!({}));
    assert_eq!(answer["result"], json!([1, false, "none", null]), "{answer}");
}

/// Cannot be imported ahead, as it needs something of the function's.
const DEMANDING: &str = "
import threading, time
import main_settings
threading.Thread(target=time.sleep, args=(1000000,), daemon=True).start()
";

fn what_cannot_be_imported_ahead_is_not_tried_again() {
    let index = index(&[], &[("threaded", THREADED), ("demanding", DEMANDING)]);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "demanding", "demanding", "threaded"]);
    let folder = instance.scratch().join("demanding");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("main_settings.py"), "VALUE = 1\n").unwrap();
    let code =
        "import threaded, demanding\ndef handler(event): return demanding.main_settings.VALUE\n";
    std::fs::write(folder.join("app.py"), code).unwrap();
    let path = folder.to_str().unwrap();
    instance.ok(&["deploy", "function", path, "--handler", "app.handler", "--env", "demanding"]);
    for _ in 0..4 {
        assert_eq!(instance.invoke("function", &json!({}))["result"], 1);
        instance.await_growth();
        instance.ok(&["evict", "--paused"]);
    }
    assert_eq!(standbys(&instance), 0);
}
