use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::value::RawValue;

use super::*;
use crate::wire::{FaultKind, MAX_FRAME_BYTES, Requirements, VERSION};

/// A supervisor that reads one request and answers as the test tells it.
struct Server {
    folder: tempfile::TempDir,
    thread: JoinHandle<Request>,
}

impl Server {
    fn start(answer: impl FnOnce(&mut UnixStream) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket_path(folder.path())).unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut header = [0; HEADER_BYTES];
            stream.read_exact(&mut header).unwrap();
            let mut body = vec![0; Header::decode(&header).unwrap().length as usize];
            stream.read_exact(&mut body).unwrap();
            answer(&mut stream);
            serde_json::from_slice(&body).unwrap()
        });
        Self { folder, thread }
    }

    fn sending(bytes: Vec<u8>) -> Self {
        Self::start(move |stream| stream.write_all(&bytes).unwrap())
    }

    fn call(self, request: &Request) -> (Result<Reply, ClientError>, Vec<Progress>, Request) {
        let mut client = Client::connect(self.folder.path()).unwrap();
        assert_eq!(client.peer_pid(), Some(std::process::id()));
        let mut told = Vec::new();
        let reply = client.call(request, &mut |progress| told.push(progress));
        (reply, told, self.thread.join().unwrap())
    }

    fn error(self) -> ClientError {
        self.call(&Request::Status).0.unwrap_err()
    }
}

fn done() -> Vec<u8> {
    encode(FrameKind::Reply, &Reply::Done { message: "done".to_owned() }).unwrap()
}

#[test]
fn progress_comes_before_the_reply_even_in_single_bytes() {
    let progress = Progress { step: "resolving".to_owned(), done: 1, total: 2, bytes: false };
    let mut bytes = encode(FrameKind::Progress, &progress).unwrap();
    bytes.extend(done());
    let server = Server::start(move |stream| {
        for byte in bytes {
            stream.write_all(&[byte]).unwrap();
            thread::sleep(Duration::from_micros(100));
        }
    });
    let (reply, told, _) = server.call(&Request::Status);
    assert!(matches!(reply, Ok(Reply::Done { .. })));
    assert_eq!(told, [progress]);
}

#[test]
fn a_large_payload_arrives_as_it_was() {
    let text = format!("[{}1.50]", "1.50,".repeat(1 << 20));
    let payload = RawValue::from_string(text.clone()).unwrap();
    let request = Request::Invoke { function: "f".to_owned(), payload, deadline_ms: None };
    let (_, _, received) = Server::sending(done()).call(&request);
    let Request::Invoke { payload, .. } = received else { panic!("another request arrived") };
    assert!(payload.get() == text);
}

#[test]
fn faults_and_refusals_are_errors_with_their_message() {
    let fault = Fault { kind: FaultKind::NotFound, message: "no function f".to_owned() };
    let frame = encode(FrameKind::Reply, &Reply::Fault(fault.clone())).unwrap();
    let error = Server::sending(frame).error();
    assert_eq!(error.to_string(), "no function f");
    assert!(matches!(error, ClientError::Fault(found) if found == fault));

    let refusal = Refusal { version: VERSION + 1, message: "speak version 2".to_owned() };
    let mut frame = encode(FrameKind::Refusal, &refusal).unwrap();
    frame[4] = u8::try_from(VERSION + 1).unwrap();
    let error = Server::sending(frame).error();
    assert_eq!(error.to_string(), "speak version 2");
    assert!(matches!(error, ClientError::Refusal(found) if found == refusal));
}

#[test]
fn an_answer_that_ends_early_is_told_from_one_that_is_wrong() {
    assert!(matches!(Server::sending(Vec::new()).error(), ClientError::Ended));
    for length in [1, HEADER_BYTES - 1, HEADER_BYTES, done().len() - 1] {
        assert!(matches!(Server::sending(done()[..length].to_vec()).error(), ClientError::Ended));
    }
    let mut huge = done();
    huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        Server::sending(huge).error(),
        ClientError::Malformed(FrameError::TooLong(_))
    ));
    let foreign = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    assert!(matches!(
        Server::sending(foreign).error(),
        ClientError::Malformed(FrameError::Magic(_))
    ));
    let request = encode(FrameKind::Request, &Request::Down).unwrap();
    assert!(matches!(Server::sending(request).error(), ClientError::Malformed(_)));
    let body = encode(FrameKind::Reply, &"unheard-of").unwrap();
    assert!(matches!(Server::sending(body).error(), ClientError::Malformed(FrameError::Body(_))));
}

#[test]
fn what_was_said_before_the_request_was_read_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(socket_path(folder.path())).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let refusal = Refusal { version: VERSION, message: "go away".to_owned() };
        stream.write_all(&encode(FrameKind::Refusal, &refusal).unwrap()).unwrap();
    });
    let mut client = Client::connect(folder.path()).unwrap();
    let payload = RawValue::from_string(format!("[{}1]", "1,".repeat(2 << 20))).unwrap();
    let request = Request::Invoke { function: "f".to_owned(), payload, deadline_ms: None };
    let error = client.call(&request, &mut |_| {}).unwrap_err();
    server.join().unwrap();
    assert_eq!(error.to_string(), "go away");
}

#[test]
fn a_request_over_the_limit_is_not_sent() {
    let server = Server::sending(done());
    let mut client = Client::connect(server.folder.path()).unwrap();
    let requirements = "x".repeat(MAX_FRAME_BYTES as usize);
    let requirements = Requirements::Locked { lock: requirements, is_brought: false };
    let request = Request::EnvAdd {
        name: "e".to_owned(),
        requirements,
        python: None,
        python_version: None,
        upgrade: false,
    };
    let error = client.call(&request, &mut |_| {}).unwrap_err();
    assert!(matches!(error, ClientError::Request(FrameError::TooLong(_))));
    // The connection is as good as before.
    assert!(client.call(&Request::Status, &mut |_| {}).is_ok());
    server.thread.join().unwrap();
}

#[test]
fn no_socket_and_a_socket_that_nobody_listens_on_are_no_supervisor() {
    let folder = tempfile::tempdir().unwrap();
    let absent = Client::connect(folder.path()).unwrap_err();
    assert!(matches!(absent, ClientError::NoSupervisor { .. }));
    drop(UnixListener::bind(socket_path(folder.path())).unwrap());
    let stale = Client::connect(folder.path()).unwrap_err();
    assert!(matches!(stale, ClientError::NoSupervisor { .. }));
    let too_long = folder.path().join("x".repeat(200));
    let odd = Client::connect(&too_long).unwrap_err();
    assert!(matches!(odd, ClientError::Connect { .. }), "{odd}");
}

#[test]
fn only_root_and_oneself_are_trusted() {
    assert!(is_trusted(0, 1000) && is_trusted(1000, 1000) && is_trusted(0, 0));
    assert!(!is_trusted(1000, 0) && !is_trusted(1001, 1000));
}
