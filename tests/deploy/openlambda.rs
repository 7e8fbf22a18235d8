//! Functions written for OpenLambda, deployed unchanged.

use serde_json::json;

use super::{deploy, deployed, folder, refused};
use crate::harness::shared;
use crate::tests;

tests!(
    a_folder_is_deployed_as_it_is,
    an_entry_file_is_named,
    what_means_nothing_is_told_and_schedules_are_taken
);

fn a_folder_is_deployed_as_it_is() {
    let instance = shared();
    let code = "
import os
import six
from beside import greeting

def f(event):
    with open('data.txt') as data:
        return [greeting, event, six.__version__, os.environ['GREETED'], os.environ['SIZE'], data.read()]
";
    let files = [
        ("f.py", code),
        ("beside.py", "greeting = 'hello'\n"),
        ("data.txt", "data"),
        ("requirements.txt", "# by pip-compile\nsix==1.16.0\n    # via -r requirements.in\n"),
        (
            "ol.yaml",
            "triggers:\n  http:\n    - method: \"*\"\nenvironment:\n  GREETED: you\n  SIZE: 3\n",
        ),
    ];
    let path = folder(&instance, "open", &files);
    let said = deployed(&instance, "open", &path, &[]);
    assert!(said.contains("handler f.f") && !said.contains("warning"), "{said}");
    let answer = instance.invoke("open", &json!({ "a": 1 }));
    let expected = json!(["hello", { "a": 1 }, "1.16.0", "you", "3", "data"]);
    assert_eq!(answer["result"], expected, "{answer}");
    // What is said outweighs what is brought.
    deployed(&instance, "open", &path, &["--set", "GREETED=them"]);
    assert_eq!(instance.invoke("open", &json!({}))["result"][3], "them");
}

fn an_entry_file_is_named() {
    let instance = shared();
    let code = "
def app(environ, start_response):
    start_response('200 OK', [])
    return [b'from the entry file']

def other(environ, start_response):
    start_response('200 OK', [])
    return [b'from the other']
";
    let yaml = "environment:\n  OL_ENTRY_FILE: entry.py\n";
    let files = [("f.py", "def f(event): ...\n"), ("entry.py", code), ("ol.yaml", yaml)];
    let path = folder(&instance, "entered", &files);
    assert!(deployed(&instance, "entered", &path, &[]).contains("handler entry.app"));
    let body =
        |name: &str| instance.invoke(name, &json!({ "path": "/" }))["result"]["body"].clone();
    assert_eq!(body("entered"), "from the entry file");
    deployed(&instance, "entered", &path, &["--set", "OL_WSGI_ENTRY=other"]);
    assert_eq!(body("entered"), "from the other");
    let output = deploy(&instance, "entered", &path, &["--set", "OL_ENTRY_FILE=nowhere.py"]);
    refused(&output, "nowhere.py");
}

fn what_means_nothing_is_told_and_schedules_are_taken() {
    let instance = shared();
    let yaml = "limits: {mem: 50}\ntriggers:\n  http: [{method: GET}]\n  cron:\n    - schedule: '0 3 * * *'\n";
    let path =
        folder(&instance, "warned", &[("f.py", "def f(event): return 1\n"), ("ol.yaml", yaml)]);
    let said = deployed(&instance, "warned", &path, &[]);
    for told in ["limits is ignored", "other HTTP methods than GET"] {
        assert!(said.contains(told), "{said}");
    }
    let schedules =
        || instance.json(&["functions", "show", "warned", "--json"])["schedules"].clone();
    assert_eq!(schedules(), json!(["0 3 * * *"]));
    deployed(&instance, "warned", &path, &["--schedule", "@monthly"]);
    assert_eq!(schedules(), json!(["@monthly"]));
    assert_eq!(instance.invoke("warned", &json!({}))["result"], 1);
    let path = folder(&instance, "warned", &[("ol.yaml", "environment: [A, B]\n")]);
    refused(&deploy(&instance, "warned", &path, &[]), "ol.yaml: ");
}
