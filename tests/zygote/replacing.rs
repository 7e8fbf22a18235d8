//! Packages that, at import, replace objects that others hold.

use serde_json::json;

use super::{fresh_and_forked, index, instance, zygote};
use crate::harness::Instance;
use crate::tests;

tests!(
    the_order_of_packages_that_replace_something_is_the_functions,
    what_replaces_something_is_in_no_zygote,
    what_is_added_or_kept_when_it_is_asked_for_is_imported_ahead,
);

/// Holds values that others read and replace.
const BASE: &str = "
value = 1
settings = {'mode': 'plain', 'sections': {}}

class State:
    def __init__(self):
        self.level = 1

state = State()
hook = None
cache = None

class LazyImport:
    pass

lazily = LazyImport()
registry = {}

def act():
    return 'base'
";

/// Reads all values of `base` once.
const READER: &str = "
import base, json
found = [base.value, base.settings['mode'], base.state.level, base.hook is None, base.act(), json.dumps(1)]
";

/// A function that imports one module after the other, and returns the values that the readers have found.
fn importing(modules: &[&str]) -> String {
    let imports = modules.join(", ");
    format!(
        "import {imports}, areader, zreader\n\ndef handler(event):\n    return [areader.found, zreader.found]\n"
    )
}

fn started(packages: &[(&str, &str)]) -> Instance {
    let index = index(&[], packages);
    let instance = instance(&index, None, None);
    let names = packages.iter().map(|(name, _)| *name);
    instance.ok(&["env", "add", "all"].into_iter().chain(names).collect::<Vec<_>>());
    instance
}

fn the_order_of_packages_that_replace_something_is_the_functions() {
    let ways = [
        "import base\nbase.value = 2",
        "import base\nbase.settings['mode'] = 'other'",
        "import base\nbase.state.level = 2",
        "import base\nbase.hook = print",
        "import base\nbase.act = lambda: 'replaced'",
        "import json\njson.dumps = lambda *a: 'replaced'",
    ];
    let names: Vec<String> = (0..ways.len()).map(|number| format!("mpatcher{number}")).collect();
    let mut packages = vec![("base", BASE), ("areader", READER), ("zreader", READER)];
    packages.extend(names.iter().map(String::as_str).zip(ways));
    let instance = started(&packages);
    for patcher in &names {
        // One reader ahead of it and one after it, either way, as names tell no order.
        for first in ["areader", "zreader"] {
            let name = format!("{first}-{patcher}");
            instance.deploy(&name, &importing(&["base", first, patcher]), &["--env", "all"]);
            let call = || {
                let answer = instance.invoke(&name, &json!({}));
                assert_eq!(answer["outcome"], "done", "{answer}");
                answer["result"].clone()
            };
            let fresh = call();
            assert_ne!(fresh[0], fresh[1], "{name}: nothing was replaced");
            for _ in 0..2 {
                instance.await_zygotes();
                instance.ok(&["evict", "--paused"]);
                assert_eq!(call(), fresh, "{name}");
            }
        }
    }
}

fn what_replaces_something_is_in_no_zygote() {
    let patcher = ("mpatcher", "import base\nbase.value = 2");
    let around = ("around", "import mpatcher");
    let instance =
        started(&[("base", BASE), ("areader", READER), ("zreader", READER), patcher, around]);
    instance.deploy("user", &importing(&["around"]), &["--env", "all"]);
    instance.deploy("other", &importing(&["base"]), &["--env", "all"]);
    for _ in 0..3 {
        let answer = instance.invoke("user", &json!({}));
        assert_eq!(answer["result"][0][0], 2, "{answer}");
        instance.await_zygotes();
        instance.ok(&["evict", "--paused"]);
    }
    let seen = zygote(&instance);
    assert_eq!(seen["modules"], json!(["areader", "base", "zreader"]), "{seen}");
    let reason = seen["reason"].as_str().unwrap();
    assert!(reason.contains("mpatcher left out: replaces base.value"), "{reason}");
    for _ in 0..2 {
        let answer = instance.invoke("other", &json!({}));
        assert_eq!(answer["result"][0][0], 1, "{answer}");
        instance.ok(&["evict", "--paused"]);
    }
}

fn what_is_added_or_kept_when_it_is_asked_for_is_imported_ahead() {
    let adding = "
import base, json, collections
base.cache = 1.5
base.lazily = json
base.registry['adding'] = base.settings['sections']['adding'] = act = lambda: 1
base.later = base.State()
import halfway
json.JSONEncoder.item_separator = json.JSONEncoder.item_separator
import xml.dom
";
    // Imports something of another package between two steps of its own.
    let halfway = "from base import value\nimport areader\nvalue = 2";
    let packages = [("base", BASE), ("areader", READER), ("zreader", READER), ("adding", adding)];
    let instance = started(&[&packages[..], &[("halfway", halfway)]].concat());
    instance.deploy("user", &importing(&["adding"]), &["--env", "all"]);
    let (fresh, forked) = fresh_and_forked(&instance, "user", &json!({}));
    assert_eq!(forked, fresh);
    let seen = zygote(&instance);
    assert_eq!(
        seen["modules"],
        json!(["adding", "areader", "base", "halfway", "zreader"]),
        "{seen}"
    );
}
