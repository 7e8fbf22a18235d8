//! Text of functions and packages on a terminal: it is shown, and not carried out.

use std::process::Command;

use serde_json::json;

use crate::harness::{Index, Instance, Options, binary, write};
use crate::tests;

tests!(a_terminal_carries_nothing_out, a_file_gets_the_bytes);

/// Prints, raises, answers and streams control sequences: clear, title, move, hide, turn.
const RUDE: &str = "
ALL = '\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\x08\\rback\\u202ednuora\\u200b\\u2028line\\x00\\x7f'
def handler(event):
    print(ALL)
    if event == 'raise':
        raise type(ALL, (ValueError,), {})(ALL)
    return {ALL: ALL}

def items(event):
    yield ALL.encode()
    yield ALL.encode()[:-5] + b'\\xe2\\x80'
    yield b'\\xae\\xff\\x9b'
";

/// Runs `command` with a terminal as stdin, stdout and stderr, and prints what it has written there.
const TERMINAL: &str = "
import os, pty, sys
said = []
def read(descriptor):
    data = os.read(descriptor, 65536)
    said.append(data)
    # Nothing would be the end.
    return data
status = pty.spawn(sys.argv[2:], read)
open(sys.argv[1], 'wb').write(b''.join(said))
";

fn shown(instance: &Instance, arguments: &[&str]) -> String {
    let out = instance.scratch().join("terminal");
    let mut command = instance.environment(Command::new("python3"));
    command.args(["-c", TERMINAL]).arg(&out).arg(binary("pipsqueak")).args(arguments);
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(std::fs::read(out).unwrap())
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// True if a terminal might carry out something in a text; line ends of the driver do not count.
fn acts(text: &str) -> bool {
    let text = text.replace("\r\n", "\n");
    let is_act = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
    };
    text.contains(is_act)
}

fn a_terminal_carries_nothing_out() {
    let instance = Instance::start(&Options::default());
    instance.deploy("rude", RUDE, &["--handler", "rude.handler", "--retries", "0"]);
    let file = instance.scratch().join("rude.py");
    instance.ok(&["deploy", "items", file.to_str().unwrap(), "--handler", "rude.items"]);
    instance.ok(&["invoke", "rude", "--async", "-d", "\"raise\""]);
    instance.ok(&["invoke", "rude", "-d", "1"]);
    let requirements = write(&instance.scratch(), "r.txt", "six\u{1b}[2J\n");
    for arguments in [
        &["invoke", "rude", "-d", "1"][..],
        &["invoke", "rude", "-d", "1", "--json"],
        &["invoke", "rude", "-d", "\"raise\""],
        &["invoke", "rude", "-d", "\"raise\"", "--json"],
        &["invoke", "items", "--stream", "-d", "1"],
        &["invoke", "items", "--stream", "-d", "1", "--json"],
        &["logs", "rude"],
        &["logs", "rude", "--json"],
        &["events", "ls", "--json"],
        &["events", "ls"],
        &["functions", "show", "rude"],
        &["functions", "ls"],
        &["explain", "rude"],
        &["status"],
        &["env", "add", "x", "-r", requirements.to_str().unwrap()],
        &["env", "show", "\u{1b}[2J"],
        &["\u{1b}[2J"],
        &["invoke", "rude", "-d", "\u{1b}[2J"],
        &["deploy", "f", "/nowhere/\u{9b}2J\u{202e}"],
    ] {
        let text = shown(&instance, arguments);
        assert!(!acts(&text), "{arguments:?}: {text:?}");
        assert!(!text.is_empty(), "{arguments:?}");
    }
    // It is still all there, and JSON is still the same.
    let text = shown(&instance, &["invoke", "rude", "-d", "1"]);
    assert!(text.contains("\\u{1b}[2J") && text.contains("back\\u{202e}dnuora"), "{text:?}");
    let json = text.lines().last().unwrap();
    let plain = instance.ok(&["invoke", "rude", "-d", "1"]);
    let value = |json: &str| {
        serde_json::from_str::<serde_json::Value>(json)
            .unwrap_or_else(|error| panic!("{json:?}: {error}, in {text:?}"))
    };
    assert_eq!(value(json), value(&plain));
}

/// Anybody with an index may name a package; its text reaches no terminal by an error, either.
fn a_file_gets_the_bytes() {
    let instance = Instance::start(&Options::default());
    instance.deploy("rude", RUDE, &["--handler", "rude.handler"]);
    let answer = instance.invoke("rude", &json!(1));
    let sent = answer["result"].as_object().unwrap().keys().next().unwrap().clone();
    let logs = instance.ok(&["logs", "rude"]);
    // A line ends where it ends for the log.
    assert!(logs.contains("\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m"), "{logs:?}");
    assert!(sent.starts_with('\u{1b}'));
    let streamed = instance.scratch().join("rude.py");
    instance.ok(&["deploy", "items", streamed.to_str().unwrap(), "--handler", "rude.items"]);
    let output = instance.command().args(["invoke", "items", "--stream"]).output().unwrap();
    assert!(output.stdout.ends_with(b"\xe2\x80\xae\xff\x9b"), "{output:?}");
    // What an index says of itself comes with an error.
    let index = Index::start(&[], &[], None);
    index
        .add_page("rude-page", "<a href=\"\u{1b}[2Jrude_page-1.0-py3-none-any.whl\">\u{1b}[2J</a>");
    let requirement = format!("--index-url {}\nrude-page\n", index.url(""));
    let file = write(&instance.scratch(), "r.txt", &requirement);
    let output = instance.call(&["env", "add", "x", "-r", file.to_str().unwrap()]);
    assert!(output.code != 0 && !acts(&output.stderr), "{output:?}");
}
