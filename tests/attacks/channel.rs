//! Lies that a function's process tells the supervisor on its channel.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Attacked, wheel};
use crate::harness::{Index, eventually};
use crate::tests;

tests!(
    lies_of_a_function_hurt_itself_alone,
    lies_of_one_call_of_several_hurt_no_other,
    a_zygote_that_lies_is_done_without,
);

/// Writes the bytes of the event, given in hexadecimal digits, to its channel instead of an answer.
const LIAR: &str = "
import array, os, socket, time

def handler(event):
    channel = socket.socket(fileno=os.dup(3))
    for piece in event['say']:
        said = bytes.fromhex(piece['hex']) * piece.get('times', 1)
        if piece.get('descriptors'):
            rights = array.array('i', [0] * piece['descriptors'])
            for _ in range(100):
                channel.sendmsg([said], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        else:
            channel.sendall(said)
    if event.get('end'):
        os._exit(0)
    time.sleep(event.get('sleep', 0))
    return 'honest'
";

fn frame(length: u32, body: &[u8]) -> Value {
    let bytes = [&length.to_le_bytes(), body].concat();
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "hex": digits.concat() })
}

fn whole(body: &[u8]) -> Value {
    frame(u32::try_from(body.len()).unwrap(), body)
}

/// Kinds of messages, as in the supervisor's `protocol`.
const ANSWER: u8 = 49;
const PRINTED: u8 = 50;
const SAID: u8 = 51;

/// A message of a kind, whole.
fn message(kind: u8, text: &[u8]) -> Value {
    whole(&[&[kind], text].concat())
}

/// The number of descriptors that the supervisor has open.
fn open_descriptors(attacked: &Attacked) -> usize {
    let pid = attacked.instance.status()["pid"].to_string();
    std::fs::read_dir(PathBuf::from("/proc").join(pid).join("fd")).unwrap().count()
}

fn lies_of_a_function_hurt_itself_alone() {
    let attacked = Attacked::start();
    let instance = &attacked.instance;
    instance.deploy("liar", LIAR, &["--timeout", "3"]);
    instance.ok(&["invoke", "liar", "-d", r#"{"say": []}"#]);
    attacked.serves_others();
    let before = open_descriptors(&attacked);

    let nested = [b"{\"run_us\":1}\n".as_slice(), &b"[".repeat(1 << 20)].concat();
    let trace = format!(
        r#"{{"error":{{"errorType":"X","errorMessage":"{}","stackTrace":[]}}}}"#,
        "x".repeat(1 << 20)
    );
    let lies = [
        ("a length beyond all limits", json!([frame(u32::MAX, b"x")])),
        ("more than comes", json!([frame(6 << 20, b"{}\n")])),
        ("nothing", json!([whole(b"")])),
        ("no header", json!([whole(b"no line")])),
        ("no kind", json!([whole(b"\n{}")])),
        ("a kind that there is not", json!([message(200, b"{\"run_us\":1}\n1")])),
        ("a zygote's kind", json!([message(17, b"{\"run_us\":1}\n1")])),
        ("the supervisor's kind", json!([message(35, b"{\"request_id\":\"x\"}\n1")])),
        (
            "a part of no stream",
            json!([message(SAID, b"{\"part\":\"head\",\"request_id\":\"x\"}\n1")]),
        ),
        ("output of nobody's", json!([message(PRINTED, b"{\"request_id\":\"x\"}\n1")])),
        ("a header that is none", json!([message(ANSWER, b"\xff\xfe\n{}")])),
        ("another header", json!([message(ANSWER, b"{\"run_us\":-1}\n1")])),
        ("no JSON", json!([message(ANSWER, b"{\"run_us\":1}\nnull null")])),
        ("JSON without a bottom", json!([message(ANSWER, &nested)])),
        (
            "two answers",
            json!([message(ANSWER, b"{\"run_us\":1}\n1"), message(ANSWER, b"{\"run_us\":1}\n2")]),
        ),
        ("an error of a megabyte", json!([message(ANSWER, format!("{trace}\n").as_bytes())])),
        ("noise", json!([{ "hex": "a5", "times": 8 << 20 }])),
        ("descriptors", json!([{ "hex": "01", "descriptors": 200 }])),
    ];
    for (lie, say) in &lies {
        for end in [true, false] {
            let event = json!({ "say": say, "end": end, "sleep": if end { 0 } else { 10 } });
            let text = event.to_string();
            let output = instance.call_with(&["invoke", "liar", "-d", "-", "--json"], &text);
            // It hurts nobody if one of two answers is taken for its own.
            assert!([0, 1, 5].contains(&output.code), "{lie}: {output:?}");
            let answer: Value = serde_json::from_str(&output.stdout).unwrap();
            assert_ne!(answer["result"], "honest", "{lie}");
        }
        assert_eq!(instance.invoke("bystander", &json!(1))["result"], 2, "{lie}");
    }
    attacked.serves_others();
    instance.ok(&["evict", "--paused"]);
    // Those that came with messages are nobody's any more.
    eventually("descriptors are closed", || open_descriptors(&attacked) <= before + 4);
    assert_eq!(instance.invoke("liar", &json!({ "say": [] }))["result"], "honest");
}

/// Lies in the last of eight calls in one process, once the others wait.
const ONE_OF_SEVERAL: &str = "
import collections, json, os, socket, threading, time

said = collections.defaultdict(threading.Event)
waiting = collections.Counter()
lock = threading.Lock()

def handler(event, context):
    lie = event['lie']
    with lock:
        waiting[lie] += 1
        event_of_lie = said[lie]
    if 'header' not in event:
        event_of_lie.wait(20)
        return os.getpid()
    while waiting[lie] < 8:
        time.sleep(0.01)
    header = dict(event['header'])
    if header.pop('named', True):
        header['request_id'] = context.aws_request_id
    message = bytes([event['kind']]) + json.dumps(header).encode() + b'\\n' + b'x' * event['bytes']
    channel = socket.socket(fileno=os.dup(3))
    channel.sendall(len(message).to_bytes(4, 'little') + message)
    event_of_lie.set()
    return os.getpid()
";

fn lies_of_one_call_of_several_hurt_no_other() {
    let attacked = Attacked::start();
    let instance = &attacked.instance;
    let flags = ["--concurrency", "8", "--sandboxes", "1"];
    instance.deploy("several", ONE_OF_SEVERAL, &flags);
    let mut process = None;
    let part = json!({ "part": "result" });
    for (lie, kind, header, bytes, error) in [
        ("an answer", ANSWER, json!({}), 20 << 20, json!("Function.ResponseSizeTooLarge")),
        ("output", PRINTED, json!({}), 20 << 20, json!(null)),
        ("no name", ANSWER, json!({ "named": false }), 1, json!(null)),
        ("a part", SAID, part.clone(), 1, json!(null)),
        ("a long part", SAID, part, 20 << 20, json!("Function.ResponseSizeTooLarge")),
    ] {
        let lying = json!({ "lie": lie, "kind": kind, "header": header, "bytes": bytes });
        let mut answers: Vec<Value> = std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..7)
                .map(|_| scope.spawn(|| instance.invoke("several", &json!({ "lie": lie }))))
                .collect();
            let lied = scope.spawn(|| instance.invoke("several", &lying));
            waiting.into_iter().chain([lied]).map(|call| call.join().unwrap()).collect()
        });
        let liar = answers.pop().unwrap();
        assert_eq!(liar["error"]["errorType"], error, "{lie}: {liar}");
        for answer in &answers {
            assert_eq!(answer["outcome"], "done", "{lie}: {answer}");
            let process = process.get_or_insert_with(|| answer["result"].clone());
            assert_eq!(answer["result"], *process, "{lie}: {answer}");
        }
        attacked.serves_others();
    }
}

fn a_zygote_that_lies_is_done_without() {
    let index = Index::start(&["six"], &[], None);
    let lies = r#"
import os, sys
if b'zygote' in open('/proc/self/cmdline', 'rb').read():
    def say(text):
        os.write(3, len(text).to_bytes(4, 'little') + text)
    # READY, and FORKED for orders that nobody has given.
    say(b'\x11{"modules": [], "reads": {}, "tmp_bytes": 0}\n')
    for number in range(100):
        say(b'\x15{"id": %d, "pid": 1}\n' % number)
    os.write(3, b'\xff' * 100000)
"#;
    index.add("lies-1.0-py3-none-any.whl", &wheel("lies", lies));
    let attacked = Attacked::from(&index);
    let instance = &attacked.instance;
    instance.ok(&["env", "add", "lying", "lies"]);
    instance.deploy(
        "victim",
        "import lies\ndef handler(event): return 1\n",
        &["--env", "lying", "--timeout", "5"],
    );
    assert_eq!(instance.invoke("victim", &json!({}))["result"], 1);
    for _ in 0..3 {
        instance.ok(&["evict", "--paused"]);
        // Its own function may suffer; whoever asks for it is told.
        let output = instance.call(&["invoke", "victim", "-d", "null", "--json"]);
        assert!(serde_json::from_str::<Value>(&output.stdout).is_ok(), "{output:?}");
        attacked.serves_others();
    }
}
