//! Libraries that a zygote has loaded are the same files in its children, whatever more the children see.

use serde_json::{Value, json};

use super::fresh_and_forked;
use crate::harness::{Instance, Options, eventually, write};
use crate::tests;

tests!(
    a_loaded_library_is_found_in_a_forked_function,
    a_loaded_library_is_found_in_what_a_forked_zygote_forks,
);

/// Loads each loaded library again, by path, and lists those whose file differs from the loaded one.
const FUNCTION: &str = "
import ctypes, os, tomllib
import numpy, numpy.random, threadpoolctl

def mapped():
    with open('/proc/self/maps') as maps:
        fields = [line.split(maxsplit=5) for line in maps]
    fields = [one for one in fields if len(one) > 5 and one[5].startswith('/pipsqueak/env/')]
    libraries = {}
    for one in fields:
        libraries.setdefault(one[5].rstrip(), set()).add((one[3], one[4]))
    return libraries

def handler(event):
    before, trouble = mapped(), []
    for path, files in before.items():
        found = os.stat(path)
        device = f'{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}'
        if files != {(device, str(found.st_ino))}:
            trouble.append(f'{path} is not what is mapped')
        try:
            ctypes.CDLL(path, mode=os.RTLD_NOLOAD)
        except OSError as error:
            trouble.append(f'not loaded: {error}')
        ctypes.CDLL(path)
    trouble += [path for path, files in mapped().items() if files != before.get(path)]
    with threadpoolctl.threadpool_limits(1):
        pools = [pool['num_threads'] for pool in threadpoolctl.threadpool_info()]
    import six
    return [len(before) > 5, trouble, pools, six.__name__]
";

fn expected() -> Value {
    json!([true, [], [1], "six"])
}

/// Starts an instance with a function that imports only a part of its environment.
fn start(variables: Vec<(&'static str, String)>) -> Instance {
    let instance = Instance::start(&Options { variables, ..Options::default() });
    instance.ok(&["env", "add", "numeric", "numpy", "threadpoolctl", "six"]);
    instance.deploy("user", FUNCTION, &["--env", "numeric"]);
    instance
}

fn a_loaded_library_is_found_in_a_forked_function() {
    for spares in ["0", "2"] {
        let instance = start(vec![("PIPSQUEAK_SPARES", spares.to_owned())]);
        let answers = fresh_and_forked(&instance, "user", &json!({}));
        assert_eq!(answers, (expected(), expected()));
        let waiting = || super::zygote(&instance)["spares"].as_u64();
        eventually("a spare waits", || spares == "0" || waiting() > Some(0));
        instance.ok(&["evict", "--paused"]);
        let answer = instance.invoke("user", &json!({}));
        assert_eq!((&answer["result"], &answer["tier"]), (&expected(), &json!("zygote")));
    }
}

fn a_loaded_library_is_found_in_what_a_forked_zygote_forks() {
    let instance = start(Vec::new());
    let tree = json!({
        "packages": ["numpy"],
        "children": [{ "packages": ["threadpoolctl"], "children": [] }],
    });
    let path = write(&instance.scratch(), "tree.json", &tree.to_string());
    instance.ok(&["zygotes", "import", path.to_str().unwrap()]);
    let grown = || {
        let status = instance.status();
        let all = status["zygotes"].as_array().unwrap().clone();
        let has = |one: &&Value, module: &str| one["modules"].to_string().contains(module);
        let parent = all.iter().find(|one| has(one, "numpy") && !has(one, "threadpoolctl"));
        parent.is_some_and(|parent| {
            all.iter().any(|one| has(&one, "threadpoolctl") && one["parent"] == parent["id"])
        })
    };
    eventually("the tree is there", grown);
    let answer = instance.invoke("user", &json!({}));
    assert_eq!((&answer["result"], &answer["tier"]), (&expected(), &json!("zygote")), "{answer}");
}
