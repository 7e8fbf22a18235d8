//! Failures of handlers as reported: type, message, and frames, the user's first.

use serde_json::{Value, json};

use super::{deployed, folder};
use crate::harness::shared;
use crate::tests;

tests!(
    traces_begin_with_the_users_frames,
    what_cannot_be_loaded_says_where,
    whatever_is_raised_is_told,
);

/// Type, message and lines of a failure.
fn failure(answer: &Value) -> (&str, &str, Vec<&str>) {
    assert_eq!(answer["outcome"], "failed", "{answer}");
    let error = &answer["error"];
    let lines = error["stackTrace"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let text = |key: &str| error[key].as_str().unwrap();
    (text("errorType"), text("errorMessage"), lines.collect())
}

fn traces_begin_with_the_users_frames() {
    let instance = shared();
    let code = "
import asyncio, contextlib, json
from work import work

class Guard(contextlib.ContextDecorator):
    def __enter__(self): return self
    def __exit__(self, *error): return False

def plain(event, context):
    return work(event)

async def awaited(event, context):
    await asyncio.sleep(0)
    return work(event)

@Guard()
def guarded(event):
    return work(event)

def yielding(event):
    yield work(event)
";
    let work = "import json\ndef work(event):\n    return json.loads(event)\n";
    let path = folder(&instance, "failing", &[("work.py", work), ("fail.py", code)]);
    for name in ["plain", "awaited", "guarded", "yielding"] {
        deployed(&instance, "failing", &path, &["--handler", &format!("fail.{name}")]);
        let answer = instance.invoke("failing", &json!("{"));
        let (kind, message, lines) = failure(&answer);
        assert_eq!(kind, "JSONDecodeError");
        assert!(message.starts_with("Expecting property name"), "{message}");
        assert!(
            lines[0].contains("/function/fail.py\", line ") && lines[0].contains(name),
            "{lines:?}"
        );
        assert!(lines[0].contains("work(event)"), "{lines:?}");
        assert!(lines[1].contains("/function/work.py\", line 3, in work"), "{lines:?}");
        assert!(lines[2].contains("json"), "{lines:?}");
        let runtime = ["pipsqueak_runtime", "asyncio", "concurrent/futures", "contextlib"];
        let all = lines.join("\n");
        assert!(runtime.iter().all(|hidden| !all.contains(hidden)), "{name}: {all}");
    }
}

fn what_cannot_be_loaded_says_where() {
    let instance = shared();
    for (code, kind, message, line) in [
        (
            "def handler(event):\n    return (1\n",
            "Runtime.UserCodeSyntaxError",
            "'(' was never closed",
            "line 2",
        ),
        (
            "import nowhere\ndef handler(event): ...\n",
            "Runtime.ImportModuleError",
            "No module named 'nowhere'",
            "line 1",
        ),
        ("def handler(event): ...\nx = {}['key']\n", "KeyError", "'key'", "line 2"),
        (
            "def handler(event): ...\ndel handler\n",
            "Runtime.HandlerNotFound",
            "loading has no function handler",
            "",
        ),
        ("def handler(event): ...\nimport sys\nsys.exit('no')\n", "SystemExit", "no", "line 3"),
    ] {
        instance.deploy("loading", code, &["--handler", "loading.handler"]);
        let answer = instance.invoke("loading", &json!({}));
        let told = failure(&answer);
        assert_eq!(told.0, kind, "{answer}");
        assert!(told.1.contains(message), "{answer}");
        let place = told.2.first().copied().unwrap_or_default();
        assert!(place.contains(line), "{answer}");
        assert!(place.is_empty() || place.contains("/function/loading.py"), "{answer}");
        assert!(!told.2.join("").contains("importlib"), "{answer}");
    }
}

fn whatever_is_raised_is_told() {
    let instance = shared();
    let code = "
class Silent(Exception):
    def __str__(self): raise RuntimeError

def deep(event):
    return deep(event)

def handler(event):
    if event == 'exit':
        raise SystemExit(3)
    if event == 'silent':
        raise Silent
    if event == 'deep':
        return deep(event)
    return {1, 2}
";
    instance.deploy("raising", code, &[]);
    for (event, kind, message) in [
        ("exit", "SystemExit", "3"),
        ("silent", "Silent", "its text cannot be had: RuntimeError"),
        ("deep", "RecursionError", "maximum recursion depth exceeded"),
        ("set", "Runtime.MarshalError", "the answer is not JSON: Object of type set"),
    ] {
        let answer = instance.invoke("raising", &json!(event));
        let told = failure(&answer);
        assert_eq!(told.0, kind, "{answer}");
        assert!(told.1.starts_with(message), "{answer}");
        assert!(told.2.len() < 10, "{answer}");
    }
}
