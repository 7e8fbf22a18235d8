//! Processes forked from a zygote behave like one with an interpreter of its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{fresh_and_forked, members};
use crate::harness::{Instance, Options, interpreters};
use crate::tests;

tests!(
    it_is_like_one_with_an_interpreter_of_its_own,
    it_tells_what_it_had_to_import,
    it_is_had_with_every_interpreter_that_there_is
);

const PROBE: &str = include_str!("probe.py");

/// Members that may differ, each with the reason.
const ALLOWED: [(&str, &str); 3] = [
    ("frozen objects", "what a zygote has made is left out of collections, or they would copy it"),
    ("log stream", "each process writes one of its own, however it was started"),
    ("process", "no process may have the number of one that it descends from"),
];

type Members = BTreeMap<String, Value>;

/// Members of `one` that are different or absent in `other`.
fn differences(one: &Members, other: &Members) -> BTreeMap<String, (Value, Option<Value>)> {
    one.iter()
        .filter(|(name, value)| other.get(*name) != Some(*value))
        .map(|(name, value)| (name.clone(), (value.clone(), other.get(name).cloned())))
        .collect()
}

fn it_is_like_one_with_an_interpreter_of_its_own() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "lab", "numpy", "requests"]);
    instance.deploy("probe", PROBE, &["--env", "lab", "--set", "GIVEN=value", "--timeout", "60"]);
    let (fresh, forked) = fresh_and_forked(&instance, "probe", &json!({}));
    let (fresh, forked) = (members(&fresh), members(&forked));
    // A zygote has imported more; what both have is to come from the same places.
    let (some, more) = (members(&fresh["modules"]), members(&forked["modules"]));
    let mut differ = differences(&some, &more);
    differ.extend(differences(&fresh, &forked));
    differ.remove("modules");
    for (name, reason) in ALLOWED {
        assert!(
            differ.remove(name).is_some(),
            "{name} is the same, and need not be allowed: {reason}"
        );
    }
    assert!(differ.is_empty(), "fresh and forked differ: {differ:#?}");
    // Nothing but the three streams and the channel; the same in both by now.
    let numbers: Vec<_> = forked["descriptors"].as_object().unwrap().keys().collect();
    assert_eq!(numbers, ["0", "1", "2", "3"]);
    // Its zygote's was forked from another's, and no process has the number of one it descends from.
    assert_eq!(forked["process"], 4);
    for (method, expected) in
        [("fork", "ForkProcess"), ("spawn", "SpawnProcess"), ("forkserver", "ForkServerProcess")]
    {
        let told = &forked[&format!("multiprocessing {method}")];
        assert_eq!(*told, json!([["/function", "probe"], expected, 0, [2, 4]]));
    }
}

const IMPORTER: &str = "
import importlib
import six

def handler(event):
    # The runtime's own word, ahead of its answer, which would tell the same.
    from pipsqueak_runtime import news
    if event is None:
        return 'told the supervisor'
    for name in event:
        importlib.import_module(name)
    return [name for name in news.imported() if name != 'function']
";

fn it_tells_what_it_had_to_import() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "small", "six", "idna"]);
    instance.deploy("importer", IMPORTER, &["--env", "small"]);
    let ask = |names: Value| instance.invoke("importer", &names)["result"].clone();
    assert_eq!(ask(json!([])), json!(["six"]));
    instance.ok(&["evict"]);
    assert_eq!(ask(Value::Null), "told the supervisor");
    instance.await_zygotes();
    instance.ok(&["evict", "--paused"]);
    assert_eq!(ask(json!([])), json!([]));
    let told = ask(json!(["json.tool", "idna.codec"]));
    let told: Vec<&str> = told.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(told.contains(&"idna.codec"), "{told:?}");
    assert!(told.iter().all(|name| name.split('.').next() == Some("idna")), "{told:?}");
    assert_eq!(ask(json!(["idna.codec"])), json!([]));
}

fn it_is_had_with_every_interpreter_that_there_is() {
    for (minor, prefix) in interpreters() {
        let python = prefix.join(format!("bin/python3.{minor}")).to_str().unwrap().to_owned();
        let variables = vec![("PIPSQUEAK_PYTHON", python.clone())];
        let instance = Instance::start(&Options { variables, ..Options::default() });
        let code = "import sys\ndef handler(event): return sys.version_info[1]\n";
        instance.deploy("version", code, &[]);
        instance.invoke("version", &json!({}));
        instance.await_zygotes();
        instance.ok(&["evict", "--paused"]);
        let answer = instance.invoke("version", &json!({}));
        assert_eq!(
            (&answer["result"], &answer["tier"]),
            (&json!(minor), &json!("zygote")),
            "{python}: {answer}"
        );
    }
}
