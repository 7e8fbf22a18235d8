//! Hooks around the fork, under the names of AWS Lambda's `SnapStart`.

use serde_json::json;

use super::{fresh_and_forked, index, instance, zygote};
use crate::harness::{Instance, Options, eventually};
use crate::tests;

tests!(
    hooks_run_around_the_fork,
    failing_hooks_are_told,
    an_environment_may_bring_its_own,
    functions_without_packages_have_it,
);

const HOOKED: &str = "
import snapshot_restore_py as snapshot

called = []
snapshot.register_before_snapshot(called.append, 'before 1')
snapshot.register_after_restore(called.append, 'after 1')

@snapshot.register_before_snapshot
def before():
    called.append('before 2')

snapshot.register_after_restore(lambda **named: called.append(named), after=2)
";

const FUNCTION: &str = "
import hooked, snapshot_restore_py

at_import = list(hooked.called)
snapshot_restore_py.register_before_snapshot(hooked.called.append, 'never')
snapshot_restore_py.register_after_restore(hooked.called.append, 'own')

def handler(event):
    hooks = snapshot_restore_py.get_before_snapshot(), snapshot_restore_py.get_after_restore()
    return [at_import, hooked.called, *map(len, hooks)]
";

fn hooks_run_around_the_fork() {
    let index = index(&["six"], &[("hooked", HOOKED)]);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "hooks", "hooked"]);
    instance.deploy("function", FUNCTION, &["--env", "hooks"]);
    let (fresh, forked) = fresh_and_forked(&instance, "function", &json!({}));
    let after = json!({ "after": 2 });
    assert_eq!(fresh, json!([[], ["after 1", after, "own"], 3, 3]));
    let before = ["before 2", "before 1"];
    assert_eq!(
        forked,
        json!([
            [before[0], before[1], "after 1", after],
            [before[0], before[1], "after 1", after, "own"],
            3,
            3
        ])
    );
    // Once for a process, and not for each of its invocations.
    assert_eq!(instance.invoke("function", &json!({}))["result"], forked);
}

/// A text that is longer than a format may be wide, and would clear a terminal.
const LONG: &str = r" + 'x' * 70_000 + '\x1b[2J'";

fn failing_hooks_are_told() {
    let code = |which: &str, more: &str| {
        format!(
            "import snapshot_restore_py\ndef failing(): raise ValueError('no good'{more})\n\
             snapshot_restore_py.register_{which}(failing)\n"
        )
    };
    let (before, after) = (code("before_snapshot", LONG), code("after_restore", ""));
    let index = index(&["six"], &[("before", &before), ("after", &after)]);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "before", "before"]);
    instance.deploy("one", "import before\ndef handler(event): return 1\n", &["--env", "before"]);
    assert_eq!(instance.invoke("one", &json!({}))["result"], 1);
    eventually("growing has ended", || instance.status()["growing"] == false);
    assert_eq!(zygote(&instance)["state"], "failed");
    let reason = zygote(&instance)["reason"].clone();
    let expected =
        "a hook of register_before_snapshot failed: failing of before: ValueError: no good";
    assert!(reason.as_str().unwrap().contains(expected), "{reason}");
    for told in
        [["status"].as_slice(), &["zygotes", "ls"], &["zygotes", "tree"], &["explain", "one"]]
    {
        let text = instance.ok(told);
        assert!(!text.contains('\u{1b}'), "{told:?}: {text}");
    }
    instance.ok(&["evict"]);

    instance.ok(&["env", "add", "after", "after"]);
    let code = "import after\ndef handler(event): return 1\n";
    instance.deploy("two", code, &["--env", "after"]);
    for tier in ["ssd", "zygote"] {
        let answer = instance.invoke("two", &json!({}));
        assert_eq!(
            (&answer["tier"], &answer["outcome"]),
            (&json!(tier), &json!("failed")),
            "{answer}"
        );
        assert_eq!(answer["error"]["errorType"], "Runtime.AfterRestoreError", "{answer}");
        let message = answer["error"]["errorMessage"].as_str().unwrap();
        assert!(message.ends_with("failing of after: ValueError: no good"), "{message}");
        assert!(answer["error"]["stackTrace"].to_string().contains("in failing"), "{answer}");
        // That of the other environment may be tried again meanwhile.
        eventually("a zygote is ready", || {
            let zygotes = instance.status()["zygotes"].clone();
            let mut children =
                zygotes.as_array().unwrap().iter().filter(|one| !one["parent"].is_null());
            children.any(|one| one["state"] == "ready")
        });
    }
}

fn an_environment_may_bring_its_own() {
    let own = "own = True\ndef get_after_restore(): return []\n";
    let index = index(&["six"], &[("snapshot_restore_py", own)]);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "own", "snapshot_restore_py"]);
    let code = "import snapshot_restore_py\ndef handler(event): return snapshot_restore_py.own\n";
    instance.deploy("function", code, &["--env", "own"]);
    let answers = fresh_and_forked(&instance, "function", &json!({}));
    assert_eq!(answers, (json!(true), json!(true)));
}

fn functions_without_packages_have_it() {
    let instance = Instance::start(&Options::default());
    let code = "
import snapshot_restore_py

@snapshot_restore_py.register_after_restore
def restored():
    global ready
    ready = True

def handler(event):
    return ready
";
    instance.deploy("function", code, &[]);
    assert_eq!(instance.invoke("function", &json!({}))["result"], true);
}
