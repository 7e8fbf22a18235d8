//! Results and bodies that pass through while a handler runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::harness::{Instance, Options, eventually, shared, write};
use crate::tests;

tests!(
    items_come_as_they_are_made,
    what_goes_out_and_comes_in_passes_meanwhile,
    a_result_may_be_longer_than_any_limit,
    a_body_may_be_longer_than_the_memory,
    an_application_streams_both_ways,
    an_application_reads_a_body_as_a_file,
    a_websocket_is_refused_in_a_stream,
    failures_end_a_stream,
    who_goes_away_is_told_to_who_streams,
    several_stream_at_once_and_none_holds_up_another,
    a_body_that_is_not_read_is_no_trouble,
    what_cannot_be_streamed_is_refused,
);

const ITEMS: &str = "
import json, time

def handler(event):
    return event if isinstance(event, dict) else items(event)

def items(event):
    for item in event:
        if item == 'fail':
            raise ValueError('half-way')
        if item == 'hang':
            time.sleep(60)
        yield bytes(item['bytes']) if isinstance(item, dict) and 'bytes' in item else item
    yield {'a', 'set'} if event and event[-1] == 'last' else ''
";

/// Answers each line of the body with a count as soon as it comes.
const LINES: &str = "
import asyncio

def handler(event, context):
    for number, line in enumerate(context.body, 1):
        yield f'{number} {line.decode()}'

async def application(scope, receive, send):
    if scope['type'] != 'http':
        raise RuntimeError('no lifespan')
    headers = [(b'content-type', b'text/plain'), (b'set-cookie', b'a=1'), (b'set-cookie', b'b=2')]
    await send({'type': 'http.response.start', 'status': 201, 'headers': headers})
    more, number = True, 0
    while more:
        message = await receive()
        if message['type'] == 'http.disconnect':
            raise RuntimeError('gone')
        more = message['more_body']
        for line in message['body'].splitlines(True):
            number += 1
            data = f'{number} '.encode() + line
            await send({'type': 'http.response.body', 'body': data, 'more_body': True})
    await send({'type': 'http.response.body', 'body': b'end\\n'})

def web(environ, start_response):
    write = start_response('202 Accepted', [('x-length', environ.get('CONTENT_LENGTH', 'unknown'))])
    def lines():
        for number, line in enumerate(environ['wsgi.input'], 1):
            yield f'{number} '.encode() + line
        yield b'end\\n'
    return lines()
";

/// A streamed call that is under way.
struct Call {
    child: Child,
    body: Option<ChildStdin>,
    result: BufReader<ChildStdout>,
}

impl Call {
    fn begin(instance: &Instance, arguments: &[&str]) -> Self {
        let mut command = instance.command();
        command.arg("invoke").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let body = child.stdin.take();
        let result = BufReader::new(child.stdout.take().unwrap());
        Self { child, body, result }
    }

    fn say(&mut self, text: &str) {
        self.body.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.result.read_line(&mut line).unwrap();
        line
    }

    /// Ends the body; returns the rest of the result, the messages, and the exit code.
    fn end(mut self) -> (String, String, i32) {
        drop(self.body.take());
        let mut rest = Vec::new();
        self.result.read_to_end(&mut rest).unwrap();
        let ended = self.child.wait_with_output().unwrap();
        let aside = String::from_utf8(ended.stderr).unwrap();
        (String::from_utf8_lossy(&rest).into_owned(), aside, ended.status.code().unwrap())
    }
}

fn items_come_as_they_are_made() {
    let instance = shared();
    instance.deploy("items", ITEMS, &[]);
    // What makes its environment is told of that.
    instance.invoke("items", &json!([]));
    for (event, expected) in [
        (json!([]), ""),
        (json!(["a", "b\n", {"c": 1}, [2], null]), "ab\n{\"c\": 1}\n[2]\nnull\n"),
        (json!([{"bytes": [104, 105]}]), "hi"),
        (json!({"whole": [1, "ä"]}), "{\"whole\": [1, \"\\u00e4\"]}"),
    ] {
        let event = event.to_string();
        let arguments = ["items", "--stream", "--data", &event];
        let (text, aside, code) = Call::begin(&instance, &arguments).end();
        assert_eq!((text.as_str(), aside.as_str(), code), (expected, "", 0), "{event}");
    }
    // Without being asked for it as a stream it comes as a whole.
    let whole = instance.invoke("items", &json!(["a", {"c": 1}]));
    assert_eq!(whole["result"], json!(["a", {"c": 1}, ""]));
    let asked = ["items", "--stream", "--json", "--data", "[1]"];
    let (text, aside, _) = Call::begin(&instance, &asked).end();
    let told: Value = serde_json::from_str(&aside).unwrap();
    assert_eq!(
        (text.as_str(), &told["result"], &told["head"]),
        ("1\n", &Value::Null, &Value::Null)
    );
    assert_eq!(told["outcome"], "done", "{told}");
}

fn what_goes_out_and_comes_in_passes_meanwhile() {
    let instance = shared();
    for (name, flags) in [("lines", [].as_slice()), ("lines_many", &["--concurrency", "4"])] {
        let handler = format!("{name}.handler");
        instance.deploy(name, LINES, &[&["--handler", &handler], flags].concat());
        for _ in 0..2 {
            let mut call = Call::begin(&instance, &[name, "--body", "-"]);
            for number in 1..=20 {
                call.say(&format!("said {number}\n"));
                assert_eq!(call.line(), format!("{number} said {number}\n"), "{name}");
            }
            call.say("without an end");
            let (rest, aside, code) = call.end();
            assert_eq!((rest.as_str(), code), ("21 without an end", 0), "{name}: {aside}");
        }
    }
}

fn a_result_may_be_longer_than_any_limit() {
    let instance = shared();
    let code = "
def handler(event):
    if event == 'whole':
        return 'x' * (20 << 20)
    return (bytes([number % 251]) * 100_000 for number in range(event))
";
    for (name, flags) in [("long", ["--concurrency", "1"]), ("long-many", ["--concurrency", "2"])] {
        instance.deploy(name, code, &[&flags[..], &["--memory", "96M"]].concat());
        let call = instance.command().args(["invoke", name, "--stream", "--data", "700"]).output();
        let output = call.unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout.len(), 70_000_000);
        let part = |number: usize| &output.stdout[number * 100_000..(number + 1) * 100_000];
        for number in 0..700 {
            let byte = u8::try_from(number % 251).unwrap();
            assert!(part(number).iter().all(|found| *found == byte), "{number}");
        }
    }
    let whole = ["invoke", "long", "--data", "\"whole\"", "--json"];
    assert!(instance.call(&whole).stdout.contains("Function.ResponseSizeTooLarge"));
    let call = Call::begin(&instance, &["long", "--stream", "--data", "\"whole\""]);
    let (text, _, code) = call.end();
    assert_eq!((text.len(), code), ((20 << 20) + 2, 0));
}

fn a_body_may_be_longer_than_the_memory() {
    let instance = shared();
    let code = "
import hashlib

def handler(event, context):
    digest, length = hashlib.sha256(), 0
    while data := context.body.read(1 << 20):
        digest.update(data)
        length += len(data)
    return [length, digest.hexdigest()]
";
    let folder = crate::harness::folder();
    let path = folder.path().join("body");
    let bytes: Vec<u8> = (0..150_000_001u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    std::fs::write(&path, &bytes).unwrap();
    let summed = std::process::Command::new("sha256sum").arg(&path).output().unwrap();
    let digest = String::from_utf8(summed.stdout).unwrap()[..64].to_owned();
    let body = format!("@{}", path.display());
    for (name, concurrency) in [("sums", "1"), ("sums-many", "3")] {
        instance.deploy(name, code, &["--memory", "96M", "--concurrency", concurrency]);
        let (text, aside, code) = Call::begin(&instance, &[name, "--body", &body]).end();
        let expected = json!([bytes.len(), digest]);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected, "{aside}");
        assert_eq!(code, 0);
        // One that has none reads nothing.
        assert_eq!(instance.invoke(name, &json!({}))["result"][0], 0);
    }
}

fn an_application_streams_both_ways() {
    let instance = shared();
    for (name, concurrency) in [("asgi_lines", "1"), ("asgi_lines_many", "8")] {
        let handler = format!("{name}.application");
        let flags = ["--handler", &handler, "--concurrency", concurrency];
        instance.deploy(name, LINES, &flags);
        let event = r#"{"path": "/", "method": "POST"}"#;
        let mut call = Call::begin(&instance, &[name, "--body", "-", "--json", "--data", event]);
        for number in 1..=20 {
            call.say(&format!("said {number}\n"));
            assert_eq!(call.line(), format!("{number} said {number}\n"));
        }
        let (rest, aside, code) = call.end();
        assert_eq!((rest.as_str(), code), ("end\n", 0), "{aside}");
        let head = &serde_json::from_str::<Value>(&aside).unwrap()["head"];
        let cookies = json!(["a=1", "b=2"]);
        let expected = json!({
            "statusCode": 201, "headers": {"content-type": "text/plain"}, "cookies": cookies
        });
        assert_eq!(head, &expected);
        // What is in the event is the body as ever.
        let event = json!({"path": "/", "method": "POST", "body": "of the event\n"});
        let answer = instance.invoke(name, &event);
        assert_eq!(answer["result"]["body"], "1 of the event\nend\n", "{answer}");
        let call = Call::begin(&instance, &[name, "--stream", "--data", &event.to_string()]);
        assert_eq!(call.end().0, "1 of the event\nend\n");
    }
}

fn an_application_reads_a_body_as_a_file() {
    let instance = shared();
    instance.deploy("wsgi_lines", LINES, &["--handler", "wsgi_lines.web"]);
    let event = r#"{"path": "/", "method": "POST", "headers": {"content-length": "7"}}"#;
    let mut call =
        Call::begin(&instance, &["wsgi_lines", "--body", "-", "--json", "--data", event]);
    for number in 1..=5 {
        call.say(&format!("said {number}\n"));
        assert_eq!(call.line(), format!("{number} said {number}\n"));
    }
    let (rest, aside, code) = call.end();
    assert_eq!((rest.as_str(), code), ("end\n", 0), "{aside}");
    let told: Value = serde_json::from_str(&aside).unwrap();
    assert_eq!(told["head"], json!({"statusCode": 202, "headers": {"x-length": "7"}}));
    let whole = instance.invoke("wsgi_lines", &json!({"path": "/", "body": "a\nb"}));
    assert_eq!(whole["result"]["body"], "1 a\n2 bend\n", "{whole}");
}

fn a_websocket_is_refused_in_a_stream() {
    let instance = shared();
    let event = r#"{"path": "/", "headers": {"upgrade": "websocket"}}"#;
    for handler in ["web", "application"] {
        instance.deploy("sockets", LINES, &["--handler", &format!("sockets.{handler}")]);
        let asked = ["sockets", "--stream", "--json", "--data", event];
        let (text, aside, code) = Call::begin(&instance, &asked).end();
        assert_eq!((text.contains("websocket"), code), (true, 0), "{text} {aside}");
        assert!(aside.contains("\"statusCode\":426"), "{aside}");
    }
}

fn failures_end_a_stream() {
    let instance = shared();
    instance.deploy("items-failing", ITEMS, &["--timeout", "2"]);
    for (event, kind, expected) in [
        (json!(["a", "fail", "b"]), "ValueError: half-way", 1),
        (json!(["a", "last"]), "Runtime.MarshalError", 1),
        (json!(["a", "hang"]), "Runtime.Timeout", 5),
    ] {
        let arguments = ["items-failing", "--stream", "--data", &event.to_string()];
        let (text, aside, code) = Call::begin(&instance, &arguments).end();
        assert!(text.starts_with('a') && aside.contains(kind), "{text} {aside}");
        assert_eq!(code, expected, "{aside}");
    }
    assert_eq!(instance.invoke("items-failing", &json!(["a"]))["result"][0], "a");
}

fn who_goes_away_is_told_to_who_streams() {
    let instance = shared();
    let code = "
import time

def handler(event, context):
    if event == 'read':
        try:
            context.body.read()
        except ConnectionAbortedError as error:
            print('cut:', error)
        return
    try:
        while True:
            yield 'x' * 1000
    finally:
        print('closed')
";
    let code = code.replace("        return\n", "        yield 'cut'\n        return\n");
    for (name, concurrency) in [("endless", "1"), ("endless-many", "2")] {
        instance.deploy(name, &code, &["--concurrency", concurrency, "--timeout", "60"]);
        let mut call = Call::begin(&instance, &[name, "--stream", "--data", "1"]);
        call.result.read_exact(&mut vec![0; 100_000]).unwrap();
        call.child.kill().unwrap();
        call.child.wait().unwrap();
        let logged = |text: &str| instance.ok(&["logs", name]).contains(text);
        eventually("the generator is closed", || logged("closed"));
        eventually("it is told why", || logged("BrokenPipeError"));
        let mut call = Call::begin(&instance, &[name, "--body", "-", "--data", "\"read\""]);
        call.say("some");
        eventually("it is running", || {
            let status = instance.status();
            let boxes = status["sandboxes"].as_array().unwrap().clone();
            boxes.iter().any(|one| one["function"] == name && one["state"] == "running")
        });
        call.child.kill().unwrap();
        call.child.wait().unwrap();
        eventually("the body is told to be cut", || {
            logged("cut: [Errno 103] the client has gone before it had sent the whole body")
        });
    }
}

fn several_stream_at_once_and_none_holds_up_another() {
    let instance = Instance::start(&Options::default());
    let code = "
async def handler(event):
    for number in range(event):
        yield 'x' * 1000
";
    instance.deploy("many", code, &["--concurrency", "8", "--sandboxes", "1"]);
    // One whose client reads nothing.
    let stuck = Call::begin(&instance, &["many", "--stream", "--data", "10000"]);
    eventually("it is running", || {
        instance.status()["sandboxes"].as_array().is_some_and(|boxes| !boxes.is_empty())
    });
    let calls: Vec<_> =
        (0..5).map(|_| Call::begin(&instance, &["many", "--stream", "--data", "3000"])).collect();
    for call in calls {
        let (text, aside, code) = call.end();
        assert_eq!((text.len(), code), (3_000_000, 0), "{aside}");
    }
    assert_eq!(instance.status()["sandboxes"].as_array().unwrap().len(), 1);
    assert_eq!(stuck.end().0.len(), 10_000_000);
}

fn a_body_that_is_not_read_is_no_trouble() {
    let instance = shared();
    let code = "
def handler(event, context):
    return context.body.read(event).decode() if event else 'unread'
";
    instance.deploy("unread", code, &[]);
    let folder = crate::harness::folder();
    let path = write(folder.path(), "body", &"a line\n".repeat(1_000_000));
    let body = format!("@{}", path.display());
    for (event, expected) in [("0", "\"unread\""), ("6", "\"a line\""), ("0", "\"unread\"")] {
        let call = Call::begin(&instance, &["unread", "--body", &body, "--data", event]);
        let (text, aside, code) = call.end();
        assert_eq!((text.as_str(), code), (expected, 0), "{aside}");
        assert_eq!(instance.invoke("unread", &json!(0))["result"], "unread");
    }
}

fn what_cannot_be_streamed_is_refused() {
    let instance = shared();
    instance.deploy("refusing", ITEMS, &[]);
    for (arguments, expected, code) in [
        (vec!["refusing", "--body", "text"], "the body is to be @ and the path of a file", 2),
        (vec!["refusing", "--body", "@/nowhere"], "No such file", 2),
        (vec!["refusing", "--body", "@/"], "/: is a directory", 2),
        (vec!["refusing", "--body", "-", "--data", "-"], "stdin is either", 2),
        (vec!["refusing", "--stream", "--async"], "cannot be used with", 2),
        (vec!["nobody", "--stream"], "no function", 4),
        (vec!["nobody", "--body", "-"], "no function", 4),
    ] {
        let (text, aside, found) = Call::begin(&instance, &arguments).end();
        assert_eq!((text.as_str(), found), ("", code), "{arguments:?}: {aside}");
        assert!(aside.contains(expected), "{arguments:?}: {aside}");
    }
}
