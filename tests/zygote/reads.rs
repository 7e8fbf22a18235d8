//! Variables that imports read are those of the function: a zygote that has read others does not
//! serve it, and a zygote that fits is made.

use serde_json::{Value, json};

use super::{fresh_and_apart, index, instance, members};
use crate::harness::{Index, Instance};
use crate::tests;

tests!(
    variables_that_imports_read_are_the_functions,
    variables_that_the_interpreter_reads_are_the_functions,
    variables_of_own_files_hold_without_zygotes,
    variables_that_nothing_reads_tell_nobody_apart,
    variables_hold_for_several_calls_and_applications,
    what_is_installed_is_asked_of_the_functions_environment,
);

/// Reads variables in each way at import.
const READING: &str = "
import ctypes, os

getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
from_c = getenv(b'READ_FROM_C')

SEEN = {
    'READ_BY_NAME': os.environ['READ_BY_NAME'] if 'READ_BY_NAME' in os.environ else None,
    'READ_BY_GET': os.environ.get('READ_BY_GET'),
    'READ_BY_GETENV': os.getenv('READ_BY_GETENV'),
    'READ_AS_BYTES': (os.environb.get(b'READ_AS_BYTES') or b'').decode() or None,
    'READ_BY_DEFAULT': os.environ.setdefault('READ_BY_DEFAULT', 'default'),
    'READ_FROM_C': from_c.decode() if from_c else None,
    'AWS_LAMBDA_FUNCTION_MEMORY_SIZE': os.environ.get('AWS_LAMBDA_FUNCTION_MEMORY_SIZE'),
}
os.environ['SET_BY_IMPORT'] = 'imported'
";

/// Goes through all variables, as packages do that look for a prefix.
const SEARCHING: &str = "
import os
SEEN = sorted(f'{name}={value}' for name, value in os.environ.items() if name.startswith('FOUND_'))
";

const FUNCTION: &str = "
import os, sys, time
import reading, searching

def handler(event, context=None):
    return {
        **reading.SEEN,
        'SET_BY_IMPORT': os.environ['SET_BY_IMPORT'],
        'found': searching.SEEN,
        'hash': hash('cheese'),
        'warnings': sys.warnoptions,
        'optimize': sys.flags.optimize,
        'zone': time.strftime('%Z%z', time.localtime(0)),
        'own': os.environ.get('OWN'),
        'preloaded': 'LD_PRELOAD' in os.environ,
    }
";

/// Starts an instance whose zygote has imported both packages for a function without variables.
fn with_zygote() -> (Index, Instance) {
    let index = index(&[], &[("reading", READING), ("searching", SEARCHING)]);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "read", "reading", "searching"]);
    instance.deploy("plain", FUNCTION, &["--env", "read", "--memory", "256M"]);
    let plain = served(&instance, "plain");
    assert_eq!(plain["READ_BY_DEFAULT"], "default");
    assert_eq!((&plain["found"], &plain["preloaded"]), (&json!([]), &json!(false)), "{plain}");
    (index, instance)
}

/// A function's answer, which must be the same from any first start and from a zygote's child.
fn served(instance: &Instance, function: &str) -> Value {
    let (fresh, forked) = fresh_and_apart(instance, function, &json!({}));
    let (fresh, forked) = (members(&fresh), members(&forked));
    assert!(fresh.keys().eq(forked.keys()), "{fresh:?} {forked:?}");
    for (name, value) in &forked {
        // Nothing says that two interpreters have the same.
        let is_random = name == "hash" && fresh["own"] != "hash";
        assert!(is_random || *value == fresh[name], "{name}: {forked:?}\nbefore: {fresh:?}");
    }
    json!(forked)
}

fn variables_that_imports_read_are_the_functions() {
    let (_index, instance) = with_zygote();
    let names = [
        "READ_BY_NAME",
        "READ_BY_GET",
        "READ_BY_GETENV",
        "READ_AS_BYTES",
        "READ_BY_DEFAULT",
        "READ_FROM_C",
        "SET_BY_IMPORT",
    ];
    for name in names {
        let setting = format!("{name}=set");
        let flags = ["--env", "read", "--memory", "256M", "--set", &setting];
        instance.deploy("function", FUNCTION, &flags);
        let seen = served(&instance, "function");
        let expected = if name == "SET_BY_IMPORT" { "imported" } else { "set" };
        assert_eq!(seen[name], expected, "{seen}");
        let explained = instance.json(&["explain", "function", "--json"]);
        // Its own memory is told to each function, and read by this one.
        let apart = json!(["variable AWS_LAMBDA_FUNCTION_MEMORY_SIZE", format!("variable {name}")]);
        assert_eq!(explained["apart"], apart, "{explained}");
    }
    let flags = ["--env", "read", "--memory", "256M", "--set", "FOUND_IT=1"];
    instance.deploy("function", FUNCTION, &flags);
    assert_eq!(served(&instance, "function")["found"], json!(["FOUND_IT=1"]));
    // What tells a function about itself is read as well.
    instance.deploy("function", FUNCTION, &["--env", "read", "--memory", "300M"]);
    assert_eq!(served(&instance, "function")["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "300");
    assert_eq!(served(&instance, "plain")["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
}

fn variables_that_the_interpreter_reads_are_the_functions() {
    let (_index, instance) = with_zygote();
    let deploy = |settings: &[&str]| {
        let sets = settings.iter().flat_map(|setting| ["--set", setting]);
        let flags: Vec<_> = ["--env", "read", "--memory", "256M"].into_iter().chain(sets).collect();
        instance.deploy("function", FUNCTION, &flags);
        served(&instance, "function")
    };
    let hashed = deploy(&["PYTHONHASHSEED=0", "OWN=hash"])["hash"].clone();
    assert_eq!(deploy(&["PYTHONHASHSEED=0", "OWN=hash"])["hash"], hashed);
    assert_ne!(deploy(&["PYTHONHASHSEED=1", "OWN=hash"])["hash"], hashed);
    assert_eq!(deploy(&["PYTHONWARNINGS=ignore"])["warnings"], json!(["ignore"]));
    assert_eq!(deploy(&["PYTHONOPTIMIZE=1"])["optimize"], 1);
    assert_eq!(deploy(&["TZ=NPT-5:45"])["zone"], "NPT+0545");
    for setting in ["PYTHONUTF8=1", "PYTHONUNBUFFERED=1", "PYTHONDEVMODE=1", "PYTHONVERBOSE=1"] {
        assert_eq!(deploy(&[setting, "OWN=1"])["own"], "1");
    }
}

fn variables_of_own_files_hold_without_zygotes() {
    let (_index, instance) = with_zygote();
    let folder = instance.scratch().join("own");
    std::fs::create_dir_all(folder.join("lib")).unwrap();
    std::fs::write(folder.join("lib/own.py"), "NAME = 'own'\n").unwrap();
    std::fs::write(folder.join("lib/sitecustomize.py"), "import sys\nsys.was_here = 1\n").unwrap();
    let code = "import sys, reading, own\n\
                def handler(event): return [own.NAME, sys.was_here, sys.path[:2]]\n";
    std::fs::write(folder.join("app.py"), code).unwrap();
    let path = folder.to_str().unwrap();
    instance.ok(&[
        "deploy",
        "function",
        path,
        "--handler",
        "app.handler",
        "--env",
        "read",
        "--set",
        "PYTHONPATH=/function/lib",
    ]);
    for _ in 0..2 {
        let answer = instance.invoke("function", &json!({}));
        let expected = json!(["own", 1, ["/function", "/function/lib"]]);
        assert_eq!((&answer["result"], &answer["tier"]), (&expected, &json!("ssd")), "{answer}");
        instance.await_zygotes();
        instance.ok(&["evict", "--paused"]);
    }
    let explained = instance.json(&["explain", "function", "--json"]);
    assert!(explained["unlike"].as_str().unwrap().contains("PYTHONPATH"), "{explained}");
}

fn variables_that_nothing_reads_tell_nobody_apart() {
    let reading = "import os\nSEEN = os.environ.get('READ')\n";
    let index = index(&[], &[("reading", reading)]);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "read", "reading"]);
    let code = "import os, reading\ndef handler(event):\n    \
                return {'seen': os.environ.get('OWN', reading.SEEN)}\n";
    instance.deploy("plain", code, &["--env", "read"]);
    served(&instance, "plain");
    for own in ["1", "2"] {
        let setting = format!("OWN={own}");
        instance.deploy("function", code, &["--env", "read", "--set", &setting]);
        let answer = instance.invoke("function", &json!({}));
        assert_eq!((&answer["result"]["seen"], &answer["tier"]), (&json!(own), &json!("zygote")));
    }
    let explained = instance.json(&["explain", "function", "--json"]);
    assert_eq!(explained["apart"], json!([]), "{explained}");
    // Those that set the same share a zygote, the second from its first start on.
    instance.deploy("first", code, &["--env", "read", "--set", "READ=1"]);
    assert_eq!(served(&instance, "first")["seen"], "1");
    instance.deploy("second", code, &["--env", "read", "--set", "READ=1"]);
    let answer = instance.invoke("second", &json!({}));
    assert_eq!((&answer["result"]["seen"], &answer["tier"]), (&json!("1"), &json!("zygote")));
}

fn variables_hold_for_several_calls_and_applications() {
    let (_index, instance) = with_zygote();
    let asynchronous = FUNCTION.replace("def handler", "async def handler");
    let application = format!(
        "{FUNCTION}\nimport json\ndef app(environ, start_response):\n    \
         start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
         return [json.dumps(handler(None)).encode()]\n"
    );
    let flags = ["--env", "read", "--memory", "256M", "--set", "READ_BY_GET=set", "--concurrency"];
    for (code, handler, concurrency) in [
        (FUNCTION, "function.handler", "8"),
        (&asynchronous, "function.handler", "8"),
        (&application, "function.app", "1"),
    ] {
        let flags: Vec<_> = flags.into_iter().chain([concurrency, "--handler", handler]).collect();
        instance.deploy("function", code, &flags);
        let mut tiers = Vec::new();
        for _ in 0..4 {
            let answer = instance.invoke("function", &json!({ "path": "/" }));
            let result = match answer["result"]["body"].as_str() {
                Some(body) => serde_json::from_str(body).unwrap(),
                None => answer["result"].clone(),
            };
            assert_eq!(result["READ_BY_GET"], "set", "{answer}");
            tiers.push(answer["tier"].as_str().unwrap().to_owned());
            instance.await_zygotes();
            instance.ok(&["evict", "--paused"]);
        }
        assert_eq!(tiers.last().map(String::as_str), Some("zygote"), "{tiers:?}");
    }
}

/// Asks for installed distributions at import.
const ASKING: [(&str, &str); 4] = [
    ("lists", "import importlib.metadata as m\nSEEN = len(list(m.distributions()))\n"),
    (
        "queries",
        "import importlib.metadata as m\ntry:\n    SEEN = m.version('Some_thing')\n\
         except m.PackageNotFoundError:\n    SEEN = None\n",
    ),
    ("tries", "try:\n    import some_thing\n    SEEN = 1\nexcept ImportError:\n    SEEN = None\n"),
    ("finds", "import importlib.util\nSEEN = importlib.util.find_spec('some_thing') is not None\n"),
];

fn what_is_installed_is_asked_of_the_functions_environment() {
    let packages = [&ASKING[..], &[("some_thing", "")]].concat();
    let index = index(&[], &packages);
    let instance = instance(&index, None, None);
    for (name, _) in ASKING {
        let code = format!("import {name}\ndef handler(event): return {{'seen': {name}.SEEN}}\n");
        let (without, with) = (format!("{name}-without"), format!("{name}-with"));
        instance.ok(&["env", "add", &without, name]);
        instance.ok(&["env", "add", &with, name, "some_thing"]);
        instance.deploy(&without, &code, &["--env", &without]);
        let before = served(&instance, &without);
        instance.deploy(&with, &code, &["--env", &with]);
        let after = served(&instance, &with);
        assert_ne!(before, after, "{name}");
        assert_eq!(served(&instance, &without), before);
        let explained = instance.json(&["explain", &with, "--json"]);
        assert_eq!(explained["apart"].as_array().unwrap().len(), 1, "{explained}");
    }
}
