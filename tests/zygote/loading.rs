//! Functions that load only in an interpreter of their own are loaded for their callers, even if
//! loading in a zygote's child fails.

use serde_json::{Value, json};

use super::{index, instance};
use crate::harness::{Index, Instance};
use crate::tests;

tests!(
    what_loads_only_in_an_interpreter_of_its_own_gets_one,
    calls_at_once_are_all_answered,
    a_stream_begins_with_what_has_loaded,
    what_loads_nowhere_is_loaded_once_a_call,
    what_ends_while_it_loads_is_loaded_in_an_interpreter_of_its_own,
);

/// Notices if it was imported by another process than the current one.
const BOUND: &str = "
import os
is_foreign = False

def note():
    global is_foreign
    is_foreign = True

os.register_at_fork(after_in_child=note)
";

const FUNCTION: &str = "
import bound
print('loading')
if bound.is_foreign:
    raise RuntimeError('bound was imported by another process\\x1b[2J')

def handler(event):
    return [event]
";

/// An instance with a zygote that has imported `bound`, with which the function cannot load.
fn with_zygote(code: &str, flags: &[&str]) -> (Index, Instance) {
    let index = index(&["six"], &[("bound", BOUND)]);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "binding", "bound"]);
    let other = "import bound\ndef handler(event): return bound.is_foreign\n";
    instance.deploy("other", other, &["--env", "binding"]);
    assert_eq!(instance.invoke("other", &json!(1))["result"], false);
    instance.await_zygotes();
    instance.ok(&["evict", "--paused"]);
    let forked = instance.invoke("other", &json!(1));
    assert_eq!((&forked["result"], &forked["tier"]), (&json!(true), &json!("zygote")), "{forked}");
    let flags = [&["--env", "binding"], flags].concat();
    instance.deploy("function", code, &flags);
    (index, instance)
}

fn explained(instance: &Instance) -> Value {
    instance.json(&["explain", "function", "--json"])
}

fn what_loads_only_in_an_interpreter_of_its_own_gets_one() {
    let (_index, instance) = with_zygote(FUNCTION, &[]);
    assert_eq!(explained(&instance)["unlike"], json!(null));
    for round in 0..3 {
        let answer = instance.invoke("function", &json!(round));
        assert_eq!(
            (&answer["result"], &answer["tier"]),
            (&json!([round]), &json!("ssd")),
            "{answer}"
        );
        assert_eq!(answer["logs"], "loading\n");
        let explained = explained(&instance);
        let reason = explained["unlike"].as_str().unwrap();
        let expected = "it loads in an interpreter of its own, and did not in a zygote's child: \
                        RuntimeError: bound was imported by another";
        assert!(reason.starts_with(expected), "{reason}");
        let zygotes = explained["zygotes"].as_array().unwrap();
        assert!(zygotes.iter().all(|one| one["serves"] == false), "{explained}");
        let paused = instance.invoke("function", &json!(1));
        assert_eq!((&paused["result"], &paused["tier"]), (&json!([1]), &json!("paused")));
        instance.ok(&["evict", "--paused"]);
    }
    // Told where it was found out, and not again.
    let log = instance.ok(&["logs", "function"]);
    assert_eq!(log.matches("not loaded in a zygote's child").count(), 1, "{log}");
    let text = instance.ok(&["explain", "function"]);
    assert!(text.contains("it loads in an interpreter of its own") && !text.contains('\u{1b}'));
    // Another version may be another case.
    instance.deploy(
        "function",
        &FUNCTION.replace("if bound", "if 0 and bound"),
        &["--env", "binding"],
    );
    assert_eq!(explained(&instance)["unlike"], json!(null));
    assert_eq!(instance.invoke("function", &json!(1))["tier"], "zygote");
}

fn calls_at_once_are_all_answered() {
    let (_index, instance) = with_zygote(FUNCTION, &["--concurrency", "8", "--sandboxes", "1"]);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let instance = &instance;
        let calls: Vec<_> =
            (0..8).map(|n| scope.spawn(move || instance.invoke("function", &json!(n)))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer["result"], json!([number]), "{answer}");
    }
}

fn a_stream_begins_with_what_has_loaded() {
    let code = FUNCTION.replace("return [event]", "yield from ['a', 'b']");
    let (_index, instance) = with_zygote(&code, &[]);
    let streamed = instance.ok(&["invoke", "function", "--stream", "-d", "1"]);
    assert_eq!(streamed, "ab");
    assert!(explained(&instance)["unlike"].is_string());
}

fn what_loads_nowhere_is_loaded_once_a_call() {
    let code = "import bound\nprint('loading')\nraise ValueError('nowhere')\n";
    let (_index, instance) = with_zygote(code, &["--handler", "function.handler"]);
    for _ in 0..4 {
        let answer = instance.invoke("function", &json!(1));
        assert_eq!(answer["error"]["errorType"], "ValueError", "{answer}");
        assert_eq!(answer["error"]["errorMessage"], "nowhere", "{answer}");
    }
    let log = instance.ok(&["logs", "function"]);
    assert_eq!(log.matches("loading").count(), 5, "{log}");
}

fn what_ends_while_it_loads_is_loaded_in_an_interpreter_of_its_own() {
    let exit = "os._exit(3)";
    let crash = "import ctypes; ctypes.string_at(0)";
    for (end, told, flags) in [
        (exit, "exited with status 3", &[][..]),
        (crash, "killed by signal 11", &[]),
        (exit, "exited with status 3", &["--concurrency", "8"]),
    ] {
        let code = format!(
            "import os, bound\nprint('loading')\nif bound.is_foreign:\n    {end}\n\n\
             def handler(event):\n    return [event]\n"
        );
        let (_index, instance) = with_zygote(&code, flags);
        for round in 0..2 {
            let answer = instance.invoke("function", &json!(round));
            assert_eq!((&answer["result"], &answer["tier"]), (&json!([round]), &json!("ssd")));
            instance.ok(&["evict", "--paused"]);
        }
        let explained = explained(&instance);
        assert!(explained["unlike"].as_str().unwrap().contains(told), "{explained}");
    }
}
