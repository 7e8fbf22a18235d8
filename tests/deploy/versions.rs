//! Deploying again: calls that run finish on the version that they began with.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Instance, Options, eventually};
use crate::tests;

tests!(
    running_calls_finish_on_their_version,
    waiting_calls_start_on_the_new_version,
    a_removed_function_answers_those_who_wait,
);

/// Deploys a function. Its handler, given a port, waits there and then imports more of its version's code.
fn deploy(instance: &Instance, version: &str, flags: &[&str]) {
    let code = format!(
        "
import os
import socket

def handler(port):
    if port:
        with socket.create_connection(('127.0.0.1', port)) as door:
            door.recv(1)
    import late
    return ['{version}', late.version, os.environ['AWS_LAMBDA_FUNCTION_VERSION']]
"
    );
    let late = format!("version = '{version}'\n");
    let files = [("main.py", code.as_str()), ("late.py", late.as_str())];
    let path = super::folder(instance, "changing", &files);
    super::deployed(instance, "changing", &path, &[&["--network", "host"], flags].concat());
}

/// A port at which calls wait.
struct Door(TcpListener);

impl Door {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn port(&self) -> Value {
        json!(self.0.local_addr().unwrap().port())
    }

    /// The next call that waits, to be passed to [`let_in`].
    fn waiting(&self) -> TcpStream {
        self.0.accept().unwrap().0
    }
}

fn let_in(mut waiting: TcpStream) {
    waiting.write_all(b"!").unwrap();
}

fn result(call: ScopedJoinHandle<'_, Value>) -> Value {
    let answer = call.join().unwrap();
    assert_eq!(answer["outcome"], "done", "{answer}");
    answer["result"].clone()
}

fn versions_on_disk(instance: &Instance) -> Vec<String> {
    let entries = std::fs::read_dir(instance.state().join("functions/changing"));
    let names = entries.into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("code-")).collect();
    names.sort();
    names
}

fn running_calls_finish_on_their_version() {
    let instance = Instance::start(&Options::default());
    let door = Door::new();
    deploy(&instance, "old", &[]);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| instance.invoke("changing", &door.port()));
        let waiting = door.waiting();
        deploy(&instance, "new", &[]);
        let new = instance.invoke("changing", &json!(0));
        assert_eq!(new["result"], json!(["new", "new", "2"]), "{new}");
        assert_eq!(versions_on_disk(&instance), ["code-1", "code-2"]);
        let_in(waiting);
        assert_eq!(result(call), json!(["old", "old", "1"]));
    });
    // Its sandbox is not kept, and neither is its code.
    eventually("the old code is gone", || versions_on_disk(&instance) == ["code-2"]);
    let new = instance.invoke("changing", &json!(0));
    assert_eq!((&new["result"][0], &new["tier"]), (&json!("new"), &json!("paused")), "{new}");
    // A version of which a call was never made goes at once, also one that is paused.
    deploy(&instance, "newer", &[]);
    deploy(&instance, "newest", &[]);
    eventually("the others are gone", || versions_on_disk(&instance) == ["code-4"]);
}

fn waiting_calls_start_on_the_new_version() {
    let instance = Instance::start(&Options::default());
    let door = Door::new();
    deploy(&instance, "old", &["--sandboxes", "1"]);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| instance.invoke("changing", &door.port()));
        let at_door = door.waiting();
        let queued = scope.spawn(|| instance.invoke("changing", &json!(0)));
        // Nobody tells that it waits by now; where it does not, this shows nothing and fails nobody.
        std::thread::sleep(Duration::from_secs(1));
        deploy(&instance, "new", &["--sandboxes", "1"]);
        let_in(at_door);
        assert_eq!(result(running)[0], "old");
        assert_eq!(result(queued)[0], "new");
    });
}

fn a_removed_function_answers_those_who_wait() {
    let instance = Instance::start(&Options::default());
    let door = Door::new();
    deploy(&instance, "first", &[]);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| instance.invoke("changing", &door.port()));
        let waiting = door.waiting();
        instance.ok(&["functions", "rm", "changing"]);
        assert_eq!(instance.call(&["invoke", "changing"]).code, 4);
        // One of the same name is another function.
        deploy(&instance, "second", &[]);
        assert_eq!(instance.invoke("changing", &json!(0))["result"][0], "second");
        let_in(waiting);
        assert_eq!(result(call), json!(["first", "first", "1"]));
        assert_eq!(instance.invoke("changing", &json!(0))["result"][0], "second");
    });
    instance.ok(&["functions", "rm", "changing"]);
    let folder = instance.state().join("functions/changing");
    eventually("nothing of it is left", || !folder.exists());
}
