use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::channel::tests::Text;
use crate::protocol::kind::{ANSWER, PRINTED, SAID};

fn load() -> io::Result<Vec<u8>> {
    channel::compose(&Text::new("load"), b"")
}

/// The channel of a process, its other end, and the end at which the process prints.
fn process() -> (Shared, Stream, pipe::Sender) {
    let (near, far) = UnixStream::pair().unwrap();
    let (near, far) = (Stream::new(near).unwrap(), Stream::new(far).unwrap());
    let (print, printed) = pipe::pipe().unwrap();
    (Shared::new(near, printed, 1000).unwrap(), far, print)
}

async fn tell(far: &mut Stream, kind: u8, header: Value, body: &[u8]) {
    let header = header.to_string();
    let message = [&[kind], header.as_bytes(), b"\n", body].concat();
    channel::send(far, &[message]).await.unwrap();
}

#[tokio::test]
async fn what_is_given_up_half_way_is_sent_whole() {
    let (shared, mut far, _print) = process();
    let large = channel::compose(&Text::new("large"), &vec![b'x'; 4 << 20]).unwrap();
    let mut first = shared.call("a", Logs::default(), false);
    let patience = std::time::Duration::from_millis(20);
    let given_up = first.exchange(load, large.clone(), None);
    assert!(tokio::time::timeout(patience, given_up).await.is_err());
    let mut second = shared.call("b", Logs::default(), false);
    let small = channel::compose(&Text::new("small"), b"").unwrap();
    let asked = second.exchange(load, small, None);
    let answering = async {
        for length in [0, large.len() - "T\"large\"\n".len(), 0] {
            let (_, body): (Text, _) = channel::receive(&mut far, 8 << 20).await.unwrap().unwrap();
            assert_eq!(body.len(), length);
        }
        tell(&mut far, ANSWER, json!({ "request_id": "b" }), b"2").await;
    };
    let (answered, ()) = tokio::join!(asked, answering);
    assert_eq!(answered.unwrap().unwrap().1, b"2");
}

#[tokio::test]
async fn answers_and_what_was_printed_find_their_calls_in_any_order() {
    let (shared, mut far, mut print) = process();
    let mut calls = ["a", "b", "c"].map(|id| shared.call(id, Logs::default(), false));
    print.write_all(b"unknown\n").await.unwrap();
    tell(&mut far, PRINTED, json!({ "request_id": "a" }), b"of a\n").await;
    tell(&mut far, ANSWER, json!({ "request_id": "b" }), b"2").await;
    tell(&mut far, ANSWER, json!({ "request_id": "nobody" }), b"0").await;
    tell(&mut far, ANSWER, json!({ "request_id": "a" }), b"1").await;
    let mut told = Vec::new();
    for call in &mut calls[..2] {
        let answered = call.exchange(load, Vec::new(), None).await.unwrap().unwrap();
        let (_, body, logs) = answered;
        told.push((logs.finish().0, String::from_utf8(body).unwrap()));
    }
    let expected = [("of a\n", "1"), ("unknown\n", "2")];
    assert_eq!(told, expected.map(|(logs, body)| (logs.to_owned(), body.to_owned())));
    assert!(shared.is_open());
    drop(far);
    let ended = calls[2].exchange(load, Vec::new(), None).await.unwrap();
    assert!(ended.is_none() && !shared.is_open());
    let mut late = shared.call("d", Logs::default(), false);
    assert!(late.exchange(load, Vec::new(), None).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_said_once_is_said_by_whoever_sends_first() {
    let (near, far) = UnixStream::pair().unwrap();
    let mut filling = near.try_clone().unwrap();
    let near = Stream::new(near).unwrap();
    let mut filled = 0;
    while let Ok(bytes) = io::Write::write(&mut filling, &[0; 4096]) {
        filled += bytes;
    }
    let (_print, printed) = pipe::pipe().unwrap();
    let shared = Shared::new(near, printed, 1000).unwrap();
    let mut first = shared.call("a", Logs::default(), false);
    let given_up = first.exchange(load, channel::compose(&Text::new("first"), b"").unwrap(), None);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(20), given_up).await.is_err());
    let mut far = Stream::new(far).unwrap();
    far.read_exact(&mut vec![0; filled]).await.unwrap();
    let mut second = shared.call("b", Logs::default(), false);
    let asked = second.exchange(load, channel::compose(&Text::new("second"), b"").unwrap(), None);
    let answering = async {
        for expected in ["load", "second"] {
            let (header, _): (Text, _) = channel::receive(&mut far, 100).await.unwrap().unwrap();
            assert_eq!(header, Text::new(expected));
        }
        tell(&mut far, ANSWER, json!({ "request_id": "b" }), b"2").await;
    };
    let (answered, ()) = tokio::join!(asked, answering);
    assert_eq!(answered.unwrap().unwrap().1, b"2");
}

#[tokio::test]
async fn what_a_process_may_not_say_is_the_trouble_of_one_call() {
    let (shared, mut far, _print) = process();
    let mut calls = ["a", "b", "c"].map(|id| shared.call(id, Logs::default(), id == "b"));
    let long = vec![b'x'; 100_000];
    tell(&mut far, PRINTED, json!({ "request_id": "c" }), &long).await;
    tell(&mut far, ANSWER, json!({ "request_id": "a" }), &long).await;
    for _ in 0..=WINDOW + 2 {
        tell(&mut far, SAID, json!({ "request_id": "b", "part": "result" }), b"x").await;
    }
    tell(&mut far, ANSWER, json!({}), b"to nobody").await;
    tell(&mut far, ANSWER, json!({ "request_id": "c" }), b"3").await;
    let mut told = Vec::new();
    for call in &mut calls {
        let message = channel::compose(&Text::new("event"), b"").unwrap();
        let (answer, _, logs) = call.exchange(load, message, None).await.unwrap().unwrap();
        told.push((answer.error.map(|error| error.error_type), logs.finish().0));
    }
    let errors = ["Function.ResponseSizeTooLarge", "Runtime.ProtocolError"];
    let [long, many] = errors.map(|error| (Some(error.to_owned()), String::new()));
    let told_of = "\n[100000 more bytes were not kept]\n".to_owned();
    assert_eq!(told, [long, many, (None, told_of)]);
    assert!(shared.is_open());
}
