//! Code of a function ahead of an import takes effect on that import, although a zygote has made
//! the import already.

use serde_json::{Value, json};

use super::{index, instance};
use crate::harness::{Index, Instance, Options, interpreters};
use crate::tests;

tests!(
    what_is_changed_ahead_of_an_import_holds,
    modules_beside_the_handler_come_first,
    what_no_import_reads_makes_no_difference,
    handlers_of_each_kind_are_loaded_again,
    what_fails_with_its_own_order_fails_as_itself,
    a_handler_that_imports_late_is_no_exception,
    what_an_import_tells_is_in_the_log,
    it_holds_with_other_interpreters,
    what_stands_by_is_no_exception,
);

/// Keeps the settings that it finds at its import.
pub const KNOB: &str = "
import builtins, concurrent.futures, json, locale, logging, os, queue, socket, ssl, sys, threading, time
import urllib.request
try:
    import maybe_there
except ImportError:
    maybe_there = None

value = os.environ.get('KNOB', 'unset')
socket_class, thread_class, context_class = socket.socket, threading.Thread, ssl.SSLContext
start, connect = threading.Thread.start, socket.socket.connect
clock, opened, sleep = time.time, builtins.open, time.sleep
logger = logging.getLogger('knob')
number_format = locale.setlocale(locale.LC_ALL)
arguments, output, finders = list(sys.argv), sys.stdout, list(sys.meta_path)
import six
";

const LOUD: &str = "
import logging, os, warnings
print('loud is imported')
os.write(2, b'and says so\\n')
warnings.warn('loud is old', UserWarning, stacklevel=2)
warnings.warn('loud will go', DeprecationWarning)
logging.getLogger('loud').info('loud is well')
logging.getLogger('loud').warning('loud is unwell')
";

/// Starts an instance with a zygote that has imported packages.
pub fn with_zygote(packages: &[(&str, &str)]) -> (Index, Instance) {
    let index = index(&["six"], packages);
    let instance = instance(&index, None, None);
    seed(&instance, packages);
    (index, instance)
}

/// Starts such an instance with another interpreter.
pub fn with_interpreter(python: String, packages: &[(&str, &str)]) -> (Index, Instance) {
    let index = index(&["six"], packages);
    let variables = vec![("UV_DEFAULT_INDEX", index.url("")), ("PIPSQUEAK_PYTHON", python)];
    let instance = Instance::start(&Options { variables, ..Options::default() });
    seed(&instance, packages);
    (index, instance)
}

/// Makes a zygote with packages.
fn seed(instance: &Instance, packages: &[(&str, &str)]) {
    let names: Vec<_> = packages.iter().map(|(name, _)| *name).collect();
    instance.ok(&[&["env", "add", "lab", "six"], &*names].concat());
    let code = format!("import six, {}\ndef handler(event): return 1\n", names.join(", "));
    instance.deploy("seed", &code, &["--env", "lab"]);
    instance.invoke("seed", &json!(1));
    instance.await_zygotes();
    instance.ok(&["evict", "--paused"]);
    let forked = instance.invoke("seed", &json!(1));
    assert_eq!(forked["tier"], "zygote", "{forked}");
}

/// The reason why no zygote serves a function, or `null`.
pub fn unlike(instance: &Instance, name: &str) -> Value {
    instance.json(&["explain", name, "--json"])["unlike"].clone()
}

/// Deploys a function whose `check` is true in a plain interpreter, and checks that no zygote has
/// served it, because of `reason`.
pub fn holds(instance: &Instance, name: &str, (code, check, reason): (&str, &str, &str)) {
    let code = format!("{code}\ndef handler(event): return bool({check})\n");
    instance.deploy(name, &code, &["--env", "lab"]);
    let answer = instance.invoke(name, &json!(1));
    assert_eq!(
        (&answer["result"], &answer["tier"]),
        (&json!(true), &json!("ssd")),
        "{code} {answer}"
    );
    let unlike = unlike(instance, name);
    assert!(unlike.as_str().is_some_and(|unlike| unlike.contains(reason)), "{code} {unlike}");
}

const CHANGES: [(&str, &str, &str); 26] = [
    ("import os\nos.environ['KNOB'] = 'own'\nimport knob", "knob.value == 'own'", "KNOB"),
    (
        "import os\nos.environ.setdefault('KNOB', 'own')\nimport six, knob",
        "knob.value == 'own'",
        "KNOB",
    ),
    ("import os\nos.environ.update(KNOB='own')\nfrom knob import value", "value == 'own'", "KNOB"),
    ("import os\nos.putenv('KNOB', 'own')\nimport knob", "knob.value == 'unset'", "KNOB"),
    (
        "import os, importlib\nos.environ['KNOB'] = 'own'\nknob = importlib.import_module('knob')",
        "knob.value == 'own'",
        "KNOB",
    ),
    (
        "import os\nos.environ['KNOB'] = 'own'\ntry:\n    import knob\nexcept BaseException:\n    knob = None",
        "knob.value == 'own'",
        "KNOB",
    ),
    (
        "import os, sys\nos.mkdir('/tmp/own')\nopen('/tmp/own/six.py', 'w').write('own = 1')\n\
         sys.path.insert(0, '/tmp/own')\nimport knob",
        "knob.six.own",
        "six",
    ),
    (
        "import os, sys\nos.mkdir('/tmp/own')\nopen('/tmp/own/maybe_there.py', 'w')\n\
         sys.path.append('/tmp/own')\nimport knob",
        "knob.maybe_there",
        "maybe_there",
    ),
    ("import sys, types\nsys.modules['six'] = types\nimport knob", "knob.six is types", "six"),
    (
        "import sys\nsys.modules['six'] = None\nimport queue\ntry:\n    import knob\nexcept ImportError:\n    knob = None",
        "knob is None",
        "six",
    ),
    (
        "import sys\nclass Finder:\n    def find_spec(*_): return None\n\
         sys.meta_path.insert(0, Finder())\nimport knob",
        "any(type(one) is Finder for one in knob.finders)",
        "sys.meta_path",
    ),
    (
        "import sys\ndef hook(path): raise ImportError\nsys.path_hooks.insert(0, hook)\nimport knob",
        "knob",
        "sys.path_hooks",
    ),
    (
        "import builtins\nplain, seen = builtins.__import__, []\n\
         def own(name, *rest, **named):\n    seen.append(name)\n    return plain(name, *rest, **named)\n\
         builtins.__import__ = own\nimport knob",
        "'six' in seen",
        "builtins.__import__",
    ),
    (
        "import sys\nsys.argv.append('more')\nimport knob",
        "knob.arguments[1:] == ['more']",
        "sys.argv",
    ),
    (
        "import io, sys\nplain, sys.stdout = sys.stdout, io.StringIO()\nimport knob\nsys.stdout = plain",
        "knob.output is not plain",
        "sys.stdout",
    ),
    (
        "import locale\nlocale.setlocale(locale.LC_ALL, 'C')\nimport knob",
        "knob.number_format == 'C'",
        "locale",
    ),
    (
        "import socket\nclass Own(socket.socket): pass\nsocket.socket = Own\nimport knob",
        "knob.socket_class is Own",
        "socket.socket",
    ),
    (
        "import socket\nsocket.socket.connect = print\nimport knob",
        "knob.connect is print",
        "socket.socket.connect",
    ),
    (
        "import threading\nclass Own(threading.Thread): pass\nthreading.Thread = Own\nimport knob",
        "knob.thread_class is Own",
        "threading.Thread",
    ),
    (
        "import threading\nthreading.Thread.start = print\nimport knob",
        "knob.start is print",
        "Thread.start",
    ),
    ("import time\ntime.time = lambda: 7\nimport knob", "knob.clock() == 7", "time.time"),
    (
        "import builtins\nown = builtins.open = lambda *rest, **named: None\nimport knob",
        "knob.opened is own",
        "builtins.open",
    ),
    (
        "import ssl\nclass Own(ssl.SSLContext): pass\nssl.SSLContext = Own\nimport knob",
        "knob.context_class is Own",
        "ssl.SSLContext",
    ),
    (
        "import logging\nclass Own(logging.Logger): pass\nlogging.setLoggerClass(Own)\nimport knob",
        "type(knob.logger) is Own",
        "logging.",
    ),
    (
        "from unittest import mock\nwith mock.patch('time.sleep') as own:\n    import knob",
        "knob.sleep is own",
        "time.sleep",
    ),
    (
        "import os\nfrom unittest import mock\nwith mock.patch.dict(os.environ, KNOB='own'):\n    import knob",
        "knob.value == 'own'",
        "KNOB",
    ),
];

fn what_is_changed_ahead_of_an_import_holds() {
    let (_index, instance) = with_zygote(&[("knob", KNOB)]);
    for (number, case) in CHANGES.into_iter().enumerate() {
        holds(&instance, &format!("change{number}"), case);
    }
    // Told where it was found out, and not tried again.
    instance.ok(&["evict", "--paused"]);
    assert_eq!(instance.invoke("change0", &json!(1))["tier"], "ssd");
    let log = instance.ok(&["logs", "change0"]);
    assert_eq!(log.matches("the variable KNOB was").count(), 1, "{log}");
}

fn modules_beside_the_handler_come_first() {
    let (_index, instance) = with_zygote(&[("knob", KNOB)]);
    let folder = instance.scratch().join("own");
    let function = "import knob, json\ndef handler(event): return [knob.six.own, knob.queue.own]\n";
    for (name, text) in [
        ("main.py", function),
        ("six/__init__.py", "own = 1"),
        ("queue.py", "own = 2\nQueue = SimpleQueue = Empty = 0"),
    ] {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let deploy = |handler: &str| {
        let path = folder.to_str().unwrap();
        instance.ok(&["deploy", "own", path, "--handler", handler, "--env", "lab"]);
    };
    deploy("main.handler");
    let answer = instance.invoke("own", &json!(1));
    assert_eq!((&answer["result"], &answer["tier"]), (&json!([1, 2]), &json!("ssd")), "{answer}");
    assert!(unlike(&instance, "own").is_string());
    // What the runtime has imported, and what a package has looked for in vain.
    std::fs::write(folder.join("json.py"), "own = 3").unwrap();
    std::fs::write(folder.join("maybe_there.py"), "own = 4").unwrap();
    std::fs::rename(folder.join("main.py"), folder.join("enum.py")).unwrap();
    let function = "import knob, json\ndef handler(event): return [json.own, knob.maybe_there.own, __name__]\n";
    std::fs::write(folder.join("main.py"), function).unwrap();
    std::fs::remove_file(folder.join("enum.py")).unwrap();
    deploy("main.handler");
    let answer = instance.invoke("own", &json!(1));
    assert_eq!(answer["result"], json!([3, 4, "main"]), "{answer}");
    // The handler itself may have such a name.
    let function = "def handler(event): return __file__\n";
    std::fs::write(folder.join("knob.py"), function).unwrap();
    deploy("knob.handler");
    let answer = instance.invoke("own", &json!(1));
    assert_eq!(answer["result"], "/function/knob.py", "{answer}");
}

/// The index of the change that comes after all of the function's imports.
const CHANGES_AFTER: usize = 3;

const HARMLESS: [&str; 12] = [
    "import knob",
    "import os\nos.environ['OTHER'] = 'own'\nimport knob",
    "import os\nos.environ['KNOB'] = 'own'\ndel os.environ['KNOB']\nimport knob",
    "import knob, os\nos.environ['KNOB'] = 'own'\nimport six, socket, queue",
    "import sys\nsys.path.append('/tmp/none')\nimport knob",
    "import os, sys\nsys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))\nimport knob",
    "import sys\nclass Finder:\n    def find_spec(*_): return None\nsys.meta_path.append(Finder())\nimport knob",
    "import warnings\nwarnings.filterwarnings('ignore')\nwarnings.simplefilter('error')\nimport knob",
    "import logging\nlogging.basicConfig(level='DEBUG')\nimport knob",
    "import random, socket\nrandom.seed(1)\nsocket.setdefaulttimeout(3)\nimport knob",
    "import asyncio\nasyncio.run(asyncio.sleep(0))\nimport knob",
    "import time, six\nwith open(__file__) as own: own.read()\nfrom unittest import mock\n\
     with mock.patch('time.time'): pass\nimport knob",
];

fn what_no_import_reads_makes_no_difference() {
    let (_index, instance) = with_zygote(&[("knob", KNOB)]);
    for (number, code) in HARMLESS.iter().enumerate() {
        let name = format!("harmless{number}");
        let code = format!(
            "{code}\nimport builtins\ndef handler(event):\n    \
             return [knob.value, repr(builtins.__import__), builtins.__import__.__module__]\n"
        );
        instance.deploy(&name, &code, &["--env", "lab"]);
        let answer = instance.invoke(&name, &json!(1));
        assert_eq!(unlike(&instance, &name), json!(null), "{code} {answer}");
        // Where the handler may import something later it is seen what comes ahead of that.
        let owner = if number == CHANGES_AFTER { "imports" } else { "builtins" };
        let expected = json!(["unset", "<built-in function __import__>", owner]);
        assert_eq!(
            (&answer["result"], &answer["tier"]),
            (&expected, &json!("zygote")),
            "{code} {answer}"
        );
    }
}

fn handlers_of_each_kind_are_loaded_again() {
    let (_index, instance) = with_zygote(&[("knob", KNOB)]);
    let ahead = "import os, time\nos.environ['KNOB'] = 'own'\nprint('loading')\n";
    let code = format!("{ahead}import knob\ndef handler(event): return [event, knob.value]\n");
    let several = ["--env", "lab", "--concurrency", "8", "--sandboxes", "1"];
    instance.deploy("several", &code, &several);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let call = |n| instance.invoke("several", &json!(n));
        let calls: Vec<_> = (0..8).map(|n| scope.spawn(move || call(n))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer["result"], json!([number, "own"]), "{answer}");
    }
    assert!(unlike(&instance, "several").is_string());
    let code = format!("{ahead}import knob\nasync def handler(event): return knob.value\n");
    instance.deploy("awaited", &code, &["--env", "lab"]);
    assert_eq!(instance.invoke("awaited", &json!(1))["result"], "own");
    let code = format!(
        "{ahead}import knob\ndef handler(environ, start_response):\n    \
         start_response('200 OK', [])\n    return [knob.value.encode()]\n"
    );
    instance.deploy("web", &code, &["--env", "lab"]);
    let answer = instance.invoke("web", &json!({ "path": "/" }));
    assert_eq!(answer["result"]["body"], "own", "{answer}");
    let code = format!("{ahead}import knob\ndef handler(event): yield from ['a', knob.value]\n");
    instance.deploy("streamed", &code, &["--env", "lab"]);
    assert_eq!(instance.ok(&["invoke", "streamed", "--stream", "-d", "1"]), "aown");
    // Another thread may be the one that imports.
    let code = format!(
        "{ahead}import threading\ndef load():\n    global knob\n    import knob\n\
         thread = threading.Thread(target=load)\nthread.start()\nthread.join()\n\
         def handler(event): return knob.value\n"
    );
    instance.deploy("threaded", &code, &["--env", "lab"]);
    assert_eq!(instance.invoke("threaded", &json!(1))["result"], "own");
    assert!(unlike(&instance, "threaded").is_string(), "{}", instance.ok(&["zygotes", "ls"]));
}

fn what_fails_with_its_own_order_fails_as_itself() {
    let (_index, instance) = with_zygote(&[("knob", KNOB)]);
    let code = "import os\nos.environ['KNOB'] = 'own'\nimport knob\nraise ValueError(knob.value)\n";
    instance.deploy("failing", code, &["--env", "lab", "--handler", "failing.handler"]);
    for _ in 0..3 {
        let answer = instance.invoke("failing", &json!(1));
        assert_eq!(answer["error"]["errorType"], "ValueError", "{answer}");
        assert_eq!(answer["error"]["errorMessage"], "own", "{answer}");
    }
}

fn a_handler_that_imports_late_is_no_exception() {
    let (_index, instance) = with_zygote(&[("knob", KNOB)]);
    let late =
        "import os\nSET\ndef handler(event):\n    SET2\n    import knob\n    return knob.value\n";
    let deploy = |name: &str, at_load: &str, at_call: &str| {
        let code = late.replace("SET2", at_call).replace("SET", at_load);
        instance.deploy(name, &code, &["--env", "lab"]);
        instance.invoke(name, &json!(1))
    };
    let set = "os.environ['KNOB'] = 'own'";
    assert_eq!(deploy("neither", "", "pass")["tier"], "zygote");
    assert_eq!(unlike(&instance, "neither"), json!(null));
    let answer = deploy("loading", set, "pass");
    assert_eq!((&answer["result"], &answer["tier"]), (&json!("own"), &json!("ssd")), "{answer}");
    // It has run already when it is seen, so the next is the first that is right.
    assert_eq!(deploy("calling", "", set)["tier"], "zygote");
    assert!(unlike(&instance, "calling").as_str().unwrap().contains("KNOB"));
    let answer = instance.invoke("calling", &json!(1));
    assert_eq!((&answer["result"], &answer["tier"]), (&json!("own"), &json!("ssd")), "{answer}");
}

fn what_an_import_tells_is_in_the_log() {
    let (_index, instance) = with_zygote(&[("knob", KNOB), ("loud", LOUD)]);
    let call = |name: &str, ahead: &str| {
        let code = format!("{ahead}\nprint('ahead')\nimport loud\ndef handler(event): return 1\n");
        instance.deploy(name, &code, &["--env", "lab"]);
        let forked = instance.invoke(name, &json!(1));
        let is_forked = unlike(&instance, name).is_null();
        assert_eq!(forked["tier"], if is_forked { "zygote" } else { "ssd" }, "{forked}");
        let log = forked["logs"].as_str().unwrap().to_owned();
        (is_forked, log)
    };
    let (is_forked, log) = call("plainly", "");
    let own = "/function/plainly.py:3: UserWarning: loud is old\n  import loud\n";
    let expected = format!("ahead\nloud is imported\nand says so\n{own}loud is unwell\n");
    assert_eq!((is_forked, log), (true, expected));
    let (is_forked, log) = call("ignoring", "import warnings; warnings.simplefilter('ignore')");
    assert_eq!(
        (is_forked, &*log),
        (true, "ahead\nloud is imported\nand says so\nloud is unwell\n")
    );
    let (is_forked, log) = call("always", "import warnings; warnings.simplefilter('always')");
    assert!(is_forked && log.contains("loud.py:6: DeprecationWarning: loud will go"), "{log}");
    let (is_forked, log) = call("informed", "import logging; logging.basicConfig(level='INFO')");
    assert!(!is_forked && log.contains("INFO:loud:loud is well"), "{log}");
    let code = "import warnings\nwarnings.simplefilter('error')\n\
                try:\n    import loud\nexcept UserWarning:\n    loud = None\n\
                def handler(event): return loud\n";
    instance.deploy("strict", code, &["--env", "lab"]);
    let answer = instance.invoke("strict", &json!(1));
    assert_eq!((&answer["outcome"], &answer["result"]), (&json!("done"), &json!(null)), "{answer}");
    assert!(unlike(&instance, "strict").is_string());
}

fn it_holds_with_other_interpreters() {
    for (minor, prefix) in interpreters().into_iter().filter(|(minor, _)| *minor != 11) {
        let python = prefix.join(format!("bin/python3.{minor}")).to_str().unwrap().to_owned();
        let (_index, instance) = with_interpreter(python, &[("knob", KNOB), ("loud", LOUD)]);
        for at in [0, 6, 8, 10, 16, 19, 23] {
            holds(&instance, &format!("change{at}"), CHANGES[at]);
        }
        let code = "import loud, knob\ndef handler(event): return 1\n";
        instance.deploy("harmless", code, &["--env", "lab"]);
        let answer = instance.invoke("harmless", &json!(1));
        assert_eq!(answer["tier"], "zygote", "{minor} {answer}");
        assert!(answer["logs"].as_str().unwrap().contains("UserWarning: loud is old"), "{answer}");
    }
}

fn what_stands_by_is_no_exception() {
    let threaded = "import os, threading, time\nvalue = os.environ.get('KNOB')\n\
                    threading.Thread(target=time.sleep, args=(1000000,), daemon=True).start()\n";
    let index = index(&["six"], &[("threaded", threaded)]);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "lab", "six", "threaded"]);
    let code = "import os\nos.environ['KNOB'] = 'own'\nimport six, threaded\n\
                def handler(event): return threaded.value\n";
    instance.deploy("late", code, &["--env", "lab"]);
    for _ in 0..6 {
        assert_eq!(instance.invoke("late", &json!(1))["result"], "own");
        instance.await_growth();
        instance.ok(&["evict", "--paused"]);
        if unlike(&instance, "late").is_string() {
            return;
        }
    }
    panic!("{}", instance.json(&["explain", "late", "--json"]));
}
