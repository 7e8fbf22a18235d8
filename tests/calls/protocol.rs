//! The socket: versions, malformed frames, and users without access.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use pipsqueak::client::Client;
use pipsqueak::wire::{FrameKind, HEADER_BYTES, Header, Refusal, Reply, Request, VERSION, encode};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use serde_json::value::RawValue;

use crate::harness::{Instance, Options, binary, eventually, shared};
use crate::tests;

tests!(
    another_version_is_refused_clearly,
    a_refused_client_says_why,
    what_is_no_frame_hurts_nobody,
    a_frame_may_come_in_pieces,
    one_connection_carries_many_requests,
    other_users_are_refused,
    a_client_that_leaves_hurts_nobody,
    clients_that_say_nothing_do_not_hold_up_the_end,
);

fn connect(instance: &Instance) -> UnixStream {
    let stream = UnixStream::connect(instance.run().join("supervisor.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// The kind and body of the next frame.
fn answer(stream: &mut UnixStream) -> (FrameKind, Vec<u8>) {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).unwrap();
    let header = Header::decode(&header).unwrap();
    let mut body = vec![0; header.length as usize];
    stream.read_exact(&mut body).unwrap();
    (header.kind, body)
}

fn another_version_is_refused_clearly() {
    let instance = shared();
    let mut stream = connect(&instance);
    let mut frame = encode(FrameKind::Request, &Request::Status).unwrap();
    frame[4..6].copy_from_slice(&(VERSION + 1).to_le_bytes());
    stream.write_all(&frame).unwrap();
    let (kind, body) = answer(&mut stream);
    assert_eq!(kind, FrameKind::Refusal);
    let refusal: Refusal = serde_json::from_slice(&body).unwrap();
    assert_eq!(refusal.version, VERSION);
    assert!(refusal.message.contains(&(VERSION + 1).to_string()), "{refusal:?}");
}

/// The invoker's message about a supervisor of another version.
fn a_refused_client_says_why() {
    let folder = crate::harness::folder();
    let listener = UnixListener::bind(folder.path().join("supervisor.sock")).unwrap();
    let supervisor = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        answer(&mut stream);
        let message = format!("this supervisor speaks version {}", VERSION + 1);
        let refusal = Refusal { version: VERSION + 1, message };
        stream.write_all(&encode(FrameKind::Refusal, &refusal).unwrap()).unwrap();
    });
    let mut status = Command::new(binary("pipsqueak"));
    let output = status.arg("status").env("PIPSQUEAK_RUN", folder.path()).output().unwrap();
    supervisor.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{said}");
    assert!(said.contains(&format!("version {}", VERSION + 1)), "{said}");
}

fn what_is_no_frame_hurts_nobody() {
    let instance = shared();
    let good = encode(FrameKind::Request, &Request::Status).unwrap();
    let mut huge = good.clone();
    huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut other = good.clone();
    other[6] = 77;
    let mut no_json = good.clone();
    no_json[HEADER_BYTES] = b'{';
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), huge, other, no_json] {
        let mut stream = connect(&instance);
        stream.write_all(&bytes).unwrap();
        let (kind, body) = answer(&mut stream);
        assert_eq!(kind, FrameKind::Reply);
        assert!(String::from_utf8_lossy(&body).contains("bad-input"), "{body:?}");
        // And the connection is closed, not left to guess.
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    let mut cut = connect(&instance);
    cut.write_all(&good[..HEADER_BYTES + 2]).unwrap();
    drop(cut);
    instance.status();
}

fn a_frame_may_come_in_pieces() {
    let instance = shared();
    let mut stream = connect(&instance);
    for _ in 0..2 {
        for byte in encode(FrameKind::Request, &Request::EnvLs).unwrap() {
            stream.write_all(&[byte]).unwrap();
        }
        let (kind, body) = answer(&mut stream);
        assert_eq!(kind, FrameKind::Reply);
        assert!(String::from_utf8_lossy(&body).contains("science"));
    }
}

fn one_connection_carries_many_requests() {
    let instance = Instance::start(&Options::default());
    instance.deploy("echo", "def handler(event): return event\n", &[]);
    let mut client = Client::connect(&instance.run()).unwrap();
    let request = |payload: &str| {
        let payload = RawValue::from_string(payload.to_owned()).unwrap();
        Request::Invoke { function: "echo".to_owned(), payload, deadline_ms: None }
    };
    for length in [1, 4000, 4096, 10_000, 1 << 20, 3, 70_000].repeat(3) {
        let payload = format!("\"{}\"", "x".repeat(length));
        let reply = client.call(&request(&payload), &mut |_| {}).unwrap();
        let Reply::Invocation(invocation) = reply else { panic!("{reply:?}") };
        assert_eq!(invocation.result.unwrap().get(), payload);
    }
    // What is refused is no end of it.
    let unknown = Request::FunctionsShow { name: "nobody".to_owned() };
    assert!(client.call(&unknown, &mut |_| {}).is_err());
    assert!(client.call(&request("1"), &mut |_| {}).is_ok());
    // Nor is it, that several are sent before the first is answered.
    let mut stream = connect(&instance);
    for number in 0..5 {
        let frame = encode(FrameKind::Request, &request(&number.to_string())).unwrap();
        stream.write_all(&frame).unwrap();
    }
    for number in 0..5 {
        let (_, body) = answer(&mut stream);
        let Reply::Invocation(invocation) = serde_json::from_slice(&body).unwrap() else {
            panic!("{body:?}")
        };
        assert_eq!(invocation.result.unwrap().get(), number.to_string());
    }
}

fn other_users_are_refused() {
    let instance = Instance::start(&Options::default());
    let nobody = 65534;
    let output = instance.call_as(nobody, &["status"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("this user may not talk"), "{output:?}");
    // Also where the file's mode would let them.
    let socket = instance.run().join("supervisor.sock");
    std::fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let script = "
import os, socket, sys
folder = os.open(sys.argv[1], os.O_PATH)  # Whoever may enter those above it.
os.setgroups([]), os.setgid(65534), os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.connect(f'/proc/self/fd/{folder}/supervisor.sock')
try:
    s.send(b'PSQK\\1\\0\\1\\0\\x08\\0\\0\\0\"status\"')
except BrokenPipeError:
    pass  # It may have been refused before it has asked.
print(s.recv(4096)[12:].decode())
";
    let said = Command::new("python3").args(["-c", script]).arg(instance.run()).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("65534 may not") && !said.contains("\"pid\""), "{said}");
}

fn a_client_that_leaves_hurts_nobody() {
    let instance = Instance::start(&Options::default());
    let code = "
import time

def handler(event):
    time.sleep(event)
    return event
";
    instance.deploy("slow", code, &["--sandboxes", "1"]);
    instance.invoke("slow", &json!(0));
    let mut client = instance.command();
    client.args(["invoke", "slow", "-d", "0.5"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = client.spawn().unwrap();
    eventually("it is running", || instance.status()["sandboxes"][0]["state"] == "running");
    kill(Pid::from_raw(i32::try_from(client.id()).unwrap()), Signal::SIGKILL).unwrap();
    client.wait().unwrap();
    // The one place is free again, and what was for the client that left is not told to this one.
    assert_eq!(instance.invoke("slow", &json!(0.001))["result"], 0.001);
}

fn clients_that_say_nothing_do_not_hold_up_the_end() {
    let instance = Instance::start(&Options::default());
    let silent = connect(&instance);
    let mut half = connect(&instance);
    let frame = encode(FrameKind::Request, &Request::Status).unwrap();
    half.write_all(&frame[..HEADER_BYTES + 2]).unwrap();
    let footprint = instance.footprint();
    instance.ok(&["down"]);
    crate::harness::wait_until_gone(&footprint);
    drop((silent, half));
}
