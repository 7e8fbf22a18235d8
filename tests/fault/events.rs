//! `kill -9` of the supervisor with accepted events: the next supervisor carries out each of them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::json;

use crate::harness::{Instance, Options, eventually, kill_9};
use crate::tests;

tests!(accepted_events_outlive_a_killed_supervisor);

/// A server that functions report their numbers to; each waits there until it may end.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The number of functions that may end.
    passes: usize,
    /// The numbers of functions that have ended.
    done: BTreeSet<usize>,
}

impl Desk {
    /// Opens a desk; returns it and its port.
    fn open() -> (Arc<Self>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let desk = Arc::<Self>::default();
        let serving = desk.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let desk = serving.clone();
                std::thread::spawn(move || desk.serve(client));
            }
        });
        (desk, port)
    }

    fn serve(&self, mut client: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(client.try_clone().ok()?);
        let mut number = String::new();
        reader.read_line(&mut number).ok()?;
        let number = number.trim().parse().ok()?;
        let state = self.state.lock().unwrap();
        let mut state = self.changed.wait_while(state, |state| state.passes == 0).unwrap();
        state.passes -= 1;
        drop(state);
        let mut said = String::new();
        let answered = client.write_all(b"g").and_then(|()| reader.read_to_string(&mut said));
        let mut state = self.state.lock().unwrap();
        if answered.is_ok() && said == "done" {
            state.done.insert(number);
        } else {
            // It was killed while it waited: the pass is another's.
            state.passes += 1;
            self.changed.notify_one();
        }
        Some(())
    }

    fn let_end(&self, count: usize) {
        self.state.lock().unwrap().passes += count;
        self.changed.notify_all();
    }

    fn done(&self) -> usize {
        self.state.lock().unwrap().done.len()
    }
}

fn accepted_events_outlive_a_killed_supervisor() {
    let instance = Instance::start(&Options::default());
    let code = "
import socket

def handler(event):
    with socket.create_connection(('127.0.0.1', event['port'])) as connection:
        connection.sendall(b'%d\\n' % event['number'])
        connection.recv(1)
        connection.sendall(b'done')
";
    instance.deploy("teller", code, &["--network", "host", "--timeout", "300"]);
    let (desk, port) = Desk::open();
    let mut accepted = 0;
    for round in 1..=3 {
        for _ in 0..12 {
            let event = json!({ "port": port, "number": accepted }).to_string();
            instance.ok(&["invoke", "teller", "--async", "-d", &event]);
            accepted += 1;
        }
        desk.let_end(2);
        eventually("some are done, some run, some wait", || {
            let events = instance.status()["events"].clone();
            desk.done() == 2 * round && events["running"] != 0 && events["pending"] != 0
        });
        kill_9(&instance.status()["pid"]);
        instance.up();
    }
    desk.let_end(1000);
    eventually("none is left", || instance.json(&["events", "ls", "--json"]) == json!([]));
    assert_eq!(desk.state.lock().unwrap().done, (0..accepted).collect());
}
