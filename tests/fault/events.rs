//! `kill -9` of the supervisor with accepted events: each is carried out by the next.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::harness::{Instance, Options, eventually, kill_9};
use crate::tests;

tests!(accepted_events_outlive_a_killed_supervisor);

/// Which numbers functions have told.
fn heard(listener: TcpListener) -> Arc<Mutex<BTreeSet<u64>>> {
    let heard = Arc::<Mutex<BTreeSet<u64>>>::default();
    let noted = heard.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut text = String::new();
            // One that was killed has said nothing.
            if client.and_then(|mut client| client.read_to_string(&mut text)).is_ok()
                && let Ok(number) = text.parse()
            {
                noted.lock().unwrap().insert(number);
            }
        }
    });
    heard
}

fn accepted_events_outlive_a_killed_supervisor() {
    let instance = Instance::start(&Options::default());
    let code = "
import socket, time

def handler(event):
    time.sleep(0.2)
    with socket.create_connection(('127.0.0.1', event['port'])) as connection:
        connection.sendall(str(event['number']).encode())
    time.sleep(0.2)
";
    instance.deploy("teller", code, &["--network", "host"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = heard(listener);
    let count = || heard.lock().unwrap().len();
    let mut accepted = 0;
    for round in 0..3 {
        for _ in 0..12 {
            let event = json!({ "port": port, "number": accepted }).to_string();
            instance.ok(&["invoke", "teller", "--async", "-d", &event]);
            accepted += 1;
        }
        let before = count();
        eventually("some are done, some run, some wait", || {
            let events = instance.status()["events"].clone();
            count() > before && events["running"] != 0 && events["pending"] != 0
        });
        kill_9(&instance.status()["pid"]);
        eventually("it is gone", || instance.call(&["status"]).code == 3);
        instance.up();
        assert!(count() < accepted, "round {round}: there is nothing left to be carried out");
    }
    eventually("every one is carried out", || count() == accepted);
    eventually("none is left", || instance.json(&["events", "ls", "--json"]) == json!([]));
    assert_eq!(
        heard.lock().unwrap().iter().copied().collect::<Vec<_>>(),
        (0..accepted as u64).collect::<Vec<_>>()
    );
}
