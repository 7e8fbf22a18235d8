//! Settings that a function's code makes in a package before another import reads them hold,
//! although a zygote has imported both.

use serde_json::json;

use super::order::{KNOB, holds, unlike, with_interpreter, with_zygote};
use crate::harness::{Instance, interpreters};
use crate::tests;

tests!(
    what_is_changed_in_a_package_holds,
    what_is_only_used_of_a_package_makes_no_difference,
    what_a_package_changes_ahead_of_an_import_holds,
    it_holds_with_other_interpreters,
);

/// Holds settings in each way in which packages do.
const BASE: &str = "
import logging, threading

logger = logging.getLogger('base')
DEBUG, _count, cache = False, 0, []
settings = {'plain': 1, 'section': {'mode': 'plain'}}

class Options:
    def __init__(self): self.mode, self.lock = 'plain', threading.Lock()

class Table(dict):
    def __setitem__(self, name, value): super().__setitem__(name, value.upper())

options, table, hooks = Options(), Table(mode='plain'), []

def work(): return 'plain'
def configure(**named): settings['section'].update(named)
def count():
    global _count
    _count += 1
class App: pass
def __getattr__(name):
    if name != 'late': raise AttributeError(name)
    globals()[name] = lambda: 1
    return globals()[name]
";

/// Keeps the settings of `base` as they are at its own import.
const USER: &str = "
import base
found = [base.DEBUG, base.settings['plain'], base.settings['section']['mode'], base.options.mode,
         base.table['mode'], list(base.hooks), base.work(), base._count]
";
const LAZY: &str = "import typing, six";
const FURTHER: &str = "import user";
const APART: &str = "import six";

const CHANGES: [(&str, &str, &str); 13] = [
    ("import base\nbase.DEBUG = True\nimport user", "user.found[0]", "base.DEBUG"),
    ("import base\nbase.settings['plain'] = 2\nimport user", "user.found[1] == 2", "base.settings"),
    (
        "import base\nbase.configure(mode='own')\nimport user",
        "user.found[2] == 'own'",
        "base.settings",
    ),
    (
        "import base\nbase.configure(mode='own')\nimport further",
        "further.user.found[2] == 'own'",
        "base.",
    ),
    (
        "import base\nbase.options.mode = 'own'\nimport user",
        "user.found[3] == 'own'",
        "base.options",
    ),
    (
        "import base\nbase.table['mode'] = 'own'\nimport user",
        "user.found[4] == 'OWN'",
        "base.table",
    ),
    ("import base\nbase.hooks.append(1)\nimport user", "user.found[5] == [1]", "base.hooks"),
    ("import base\nbase.work = lambda: 'own'\nimport user", "user.found[6] == 'own'", "base.work"),
    ("from base import count\ncount()\nfrom user import found", "found[7] == 1", "base._count"),
    (
        "import base\ntry:\n    base.DEBUG = True\n    import user\nexcept BaseException:\n    user = None",
        "user.found[0]",
        "base.DEBUG",
    ),
    (
        "import base, importlib\nbase.DEBUG = True\nuser = importlib.import_module('user')",
        "user.found[0]",
        "base.DEBUG",
    ),
    (
        "import base\ndef later():\n    base.DEBUG = True\n    import user\n    return user\nuser = later()",
        "user.found[0]",
        "base.DEBUG",
    ),
    (
        "import base\nfrom unittest import mock\nwith mock.patch.object(base, 'work', lambda: 'own'):\n    import user",
        "user.found[6] == 'own'",
        "base.work",
    ),
];

const PACKAGES: [(&str, &str); 4] =
    [("base", BASE), ("user", USER), ("further", FURTHER), ("apart", APART)];

fn what_is_changed_in_a_package_holds() {
    let (_index, instance) = with_zygote(&PACKAGES);
    for (number, case) in CHANGES.into_iter().enumerate() {
        holds(&instance, &format!("content{number}"), case);
    }
    // By a module of the function's own, which has ended by then.
    let folder = instance.scratch().join("own");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in [
        ("main.py", "import setup_base\nimport user\ndef handler(event): return user.found[0]\n"),
        ("setup_base.py", "import base\nbase.DEBUG = True\n"),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let path = folder.to_str().unwrap();
    instance.ok(&["deploy", "own", path, "--handler", "main.handler", "--env", "lab"]);
    let answer = instance.invoke("own", &json!(1));
    assert_eq!((&answer["result"], &answer["tier"]), (&json!(true), &json!("ssd")), "{answer}");
}

const USES: [&str; 6] = [
    "import base\nbase.work()\nimport user",
    "import base\napp = base.App()\nimport user",
    "import base, logging\nlogging.basicConfig(level='DEBUG')\nbase.logger.info('own')\nimport user",
    "import base\nbase.late()\nimport user",
    "import base\nbase.DEBUG = True\nimport apart",
    "import user, base\nbase.DEBUG = True\nimport apart",
];

fn what_is_only_used_of_a_package_makes_no_difference() {
    let (_index, instance) = with_zygote(&PACKAGES);
    for (number, code) in USES.iter().enumerate() {
        is_forked(&instance, &format!("use{number}"), code);
    }
}

/// Deploys a function of this code, and checks that a zygote serves it.
fn is_forked(instance: &Instance, name: &str, code: &str) {
    let code = format!("{code}\ndef handler(event): return 1\n");
    instance.deploy(name, &code, &["--env", "lab"]);
    let answer = instance.invoke(name, &json!(1));
    assert_eq!(unlike(instance, name), json!(null), "{code} {answer}");
    let seen = (&answer["result"], &answer["tier"]);
    assert_eq!(seen, (&json!(1), &json!("zygote")), "{code} {answer}");
}

/// Changes, at import, something that others may have copied already.
const PATCHER: &str = "
import time
time.sleep = lambda seconds: None
";

fn what_a_package_changes_ahead_of_an_import_holds() {
    let (_index, instance) = with_zygote(&[("knob", KNOB), ("patcher", PATCHER)]);
    // A zygote that has imported the one, and not the other.
    instance.ok(&["functions", "rm", "seed"]);
    instance.ok(&["evict", "--zygotes"]);
    instance.deploy("first", "import knob\ndef handler(event): return 1\n", &["--env", "lab"]);
    instance.invoke("first", &json!(1));
    instance.await_zygotes();
    instance.ok(&["evict", "--paused"]);
    assert_eq!(instance.invoke("first", &json!(1))["tier"], "zygote");
    let code = "import patcher, knob\ndef handler(event): return repr(knob.sleep(99))\n";
    instance.deploy("second", code, &["--env", "lab"]);
    // A zygote that has both later may have imported them in another order.
    for _ in 0..2 {
        let answer = instance.invoke("second", &json!(1));
        assert_eq!(
            (&answer["result"], &answer["tier"]),
            (&json!("None"), &json!("ssd")),
            "{answer}"
        );
        instance.await_zygotes();
        instance.ok(&["evict", "--paused"]);
    }
}

fn it_holds_with_other_interpreters() {
    for (minor, prefix) in interpreters().into_iter().filter(|(minor, _)| *minor != 11) {
        let python = prefix.join(format!("bin/python3.{minor}")).to_str().unwrap().to_owned();
        let packages = [&PACKAGES[..], &[("lazy", LAZY)]].concat();
        let (_index, instance) = with_interpreter(python, &packages);
        for at in [0, 2, 4, 6, 9, 11] {
            holds(&instance, &format!("content{at}"), CHANGES[at]);
        }
        is_forked(&instance, "use", USES[1]);
        // From CPython 3.13 on it makes them when they are asked for.
        is_forked(&instance, "lazy", "from typing import ContextManager, Pattern\nimport lazy");
    }
}
