//! Bad input: a clear message, the right exit code, nothing left behind.

use serde_json::json;

use crate::harness::{Instance, Options, Output, shared};
use crate::tests;

tests!(
    packages_that_cannot_be_had,
    requirements_that_cannot_be_had,
    names_that_lead_elsewhere,
    things_that_do_not_exist,
    payloads_that_are_not_json,
    handlers_that_cannot_be_found,
    functions_that_fail,
    functions_that_do_not_answer,
    nothing_is_left_of_a_refused_environment,
);

fn refused(output: &Output, code: i32, says: &str) {
    assert_eq!(output.code, code, "{output:?}");
    assert!(output.stderr.contains(says), "{output:?}");
    assert!(!output.stderr.contains("panicked"), "{output:?}");
}

fn packages_that_cannot_be_had() {
    let instance = shared();
    let add = |package| instance.call(&["env", "add", "refused", package]);
    refused(&add("pipsqueak-no-such-package"), 2, "pipsqueak-no-such-package was not found");
    refused(&add("six<0.1"), 2, "unsatisfiable");
    refused(&add("six =!= 3"), 2, "requirement");
    assert_eq!(instance.call(&["env", "show", "refused"]).code, 4);
    assert!(!instance.mount().join("envs/refused").exists());
}

/// Requirements are accepted as they are; the first start resolves them.
fn requirements_that_cannot_be_had() {
    let instance = Instance::start(&Options::default());
    let requirements = instance.scratch().join("requirements.txt");
    for (lines, says) in [
        ("pipsqueak-no-such-package\n", "pipsqueak-no-such-package was not found"),
        ("six<1.10\nsix>1.10\n", "unsatisfiable"),
    ] {
        std::fs::write(&requirements, lines).unwrap();
        let flags = ["-r", requirements.to_str().unwrap()];
        instance.deploy("wanting", "def handler(event): return 1\n", &flags);
        refused(&instance.call(&["invoke", "wanting"]), 2, says);
        let status = instance.status();
        assert_eq!([&status["sandboxes"], &status["zygotes"]], [&json!([]), &json!([])]);
    }
    assert_eq!(std::fs::read_dir(instance.mount().join("envs")).unwrap().count(), 0);
    // Once they can be had, it answers.
    std::fs::write(&requirements, "six\n").unwrap();
    let flags = ["-r", requirements.to_str().unwrap()];
    instance.deploy("wanting", "import six\ndef handler(event): return six.PY3\n", &flags);
    assert_eq!(instance.invoke("wanting", &json!({}))["result"], true);
}

fn names_that_lead_elsewhere() {
    let instance = shared();
    let code = instance.scratch();
    std::fs::write(code.join("f.py"), "def f(event): return 1\n").unwrap();
    for name in ["../x", "a/b", "..", ".hidden", ""] {
        refused(&instance.call(&["env", "add", name, "six"]), 2, "name");
        refused(&instance.call(&["deploy", name, code.to_str().unwrap()]), 2, "name");
    }
}

fn things_that_do_not_exist() {
    let instance = shared();
    refused(&instance.call(&["invoke", "nobody"]), 4, "no function nobody");
    refused(&instance.call(&["env", "show", "nowhere"]), 4, "no environment nowhere");
    refused(&instance.call(&["env", "rm", "nowhere"]), 4, "no environment nowhere");
    refused(&instance.call(&["functions", "rm", "nobody"]), 4, "no function nobody");
    refused(&instance.call(&["evict", "nobody"]), 4, "no function nobody");
    refused(&instance.call(&["deploy", "x", "/no/such/folder"]), 2, "/no/such/folder");
    let file = instance.scratch().join("x.py");
    std::fs::write(&file, "def handler(event): return 1\n").unwrap();
    let path = file.to_str().unwrap();
    refused(&instance.call(&["deploy", "x", path, "--env", "nowhere"]), 4, "nowhere");
    refused(&instance.call(&["deploy", "x", path, "--network", "bridge"]), 2, "nat");
    refused(&instance.call(&["deploy", "x", path, "--handler", "nodot"]), 2, "module.function");
    assert_eq!(instance.call(&["functions", "show", "x"]).code, 4);
}

fn payloads_that_are_not_json() {
    let instance = shared();
    instance.deploy("payload", "def handler(event): return event\n", &[]);
    refused(&instance.call(&["invoke", "payload", "-d", "{oops"]), 2, "not JSON");
    refused(&instance.call_with(&["invoke", "payload", "-d", "-"], "[1,"), 2, "not JSON");
    refused(&instance.call(&["invoke", "payload", "-d", "@/no/such/file"]), 2, "/no/such/file");
    let output = instance.call_with(&["invoke", "payload", "-d", "-"], "[1, 2.50]");
    assert_eq!((output.code, output.stdout.trim()), (0, "[1, 2.5]"));
    // JSON that Python does not read: its process serves on.
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let output = instance.call_with(&["invoke", "payload", "-d", "-"], &deep);
    refused(&output, 1, "Runtime.UnmarshalError");
    assert_eq!(instance.invoke("payload", &json!(1))["tier"], "paused");
}

/// Deploys a function with a handler and invokes it with a payload; returns the type of the error.
fn error(instance: &Instance, code: &str, handler: &str, payload: &serde_json::Value) -> String {
    instance.deploy("failing", code, &["--handler", handler, "--timeout", "5"]);
    let answer = instance.invoke("failing", payload);
    assert_eq!(answer["result"], json!(null), "{answer}");
    assert_eq!(instance.call(&["invoke", "failing", "-d", &payload.to_string()]).code, 1);
    answer["error"]["errorType"].as_str().unwrap().to_owned()
}

fn handlers_that_cannot_be_found() {
    let instance = Instance::start(&Options::default());
    let error = |code, handler| error(&instance, code, handler, &json!({}));
    assert_eq!(error("x = 1\n", "failing.handler"), "Runtime.HandlerNotFound");
    assert_eq!(error("x = 1\n", "absent.handler"), "Runtime.ImportModuleError");
    assert_eq!(error("import absent\n", "failing.handler"), "Runtime.ImportModuleError");
    assert_eq!(error("def handler(: pass\n", "failing.handler"), "Runtime.UserCodeSyntaxError");
    assert_eq!(error("raise KeyError('x')\n", "failing.handler"), "KeyError");
    assert_eq!(error("import os; os._exit(0)\n", "failing.handler"), "Runtime.ExitError");
    // One that could not be loaded is not kept.
    assert_eq!(instance.status()["sandboxes"], json!([]));
}

fn functions_that_fail() {
    let instance = Instance::start(&Options::default());
    let code = "
def fail(what):
    raise ValueError(f'no {what}')

def handler(event):
    fail(event['what'])
";
    instance.deploy("fail", code, &[]);
    let answer = instance.invoke("fail", &json!({ "what": "cheese" }));
    assert_eq!(answer["error"]["errorType"], "ValueError");
    assert_eq!(answer["error"]["errorMessage"], "no cheese");
    let trace = answer["error"]["stackTrace"].to_string();
    assert!(trace.contains("line 6, in handler") && trace.contains("line 3, in fail"), "{trace}");
    assert!(!trace.contains("pipsqueak_runtime"), "{trace}");
    let output = instance.call(&["invoke", "fail", "-d", "{\"what\": \"cheese\"}"]);
    refused(&output, 1, "ValueError: no cheese");
    assert_eq!(output.stdout, "");
    // It may well answer the next.
    assert_eq!(answer["tier"], "cold");
    assert_eq!(instance.invoke("fail", &json!({ "what": "x" }))["tier"], "paused");

    for answer in ["object()", "{1, 2}", "float('nan')", "b'bytes'"] {
        let code = format!("def handler(event): return {answer}\n");
        let error = error(&instance, &code, "failing.handler", &json!({}));
        assert_eq!(error, "Runtime.MarshalError", "{answer}");
    }
}

fn functions_that_do_not_answer() {
    let instance = Instance::start(&Options::default());
    let code = "
import ctypes, os, signal, sys

def handler(event):
    exec(event)
";
    instance.deploy("gone", code, &[]);
    for (act, says) in [
        ("os._exit(3)", "exited with status 3"),
        ("ctypes.string_at(0)", "killed by signal 11 (SIGSEGV)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9 (SIGKILL)"),
        ("os.abort()", "killed by signal 6 (SIGABRT)"),
    ] {
        // From an interpreter of its own and from a zygote.
        for _ in 0..2 {
            let answer = instance.invoke("gone", &json!(act));
            assert_eq!(answer["error"]["errorType"], "Runtime.ExitError", "{answer}");
            let message = answer["error"]["errorMessage"].as_str().unwrap();
            assert!(message.contains(says), "{act}: {answer}");
            instance.await_zygotes();
        }
    }
    let closed = instance.invoke("gone", &json!("os.close(3); import time; time.sleep(9)"));
    assert_eq!(closed["error"]["errorType"], "Runtime.ExitError", "{closed}");
    let lies = instance.invoke("gone", &json!("os.write(3, b'\\xff' * 100)"));
    assert_eq!(lies["error"]["errorType"], "Runtime.ProtocolError", "{lies}");
    assert_eq!(instance.status()["sandboxes"], json!([]));
}

fn nothing_is_left_of_a_refused_environment() {
    let instance = Instance::start(&Options::default());
    let files = || {
        let mut files = Vec::new();
        for folder in ["segments", "views", "staging", "private"] {
            let entries = std::fs::read_dir(instance.state().join(folder)).unwrap();
            files.extend(entries.map(|entry| entry.unwrap().path()));
        }
        files.sort();
        files
    };
    let before = files();
    assert_eq!(instance.call(&["env", "add", "bad", "pipsqueak-no-such-package"]).code, 2);
    assert_eq!(files(), before);
}
