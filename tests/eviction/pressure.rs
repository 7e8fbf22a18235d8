//! A memory hog beside the sandboxes, within a limit around both.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::{deploy, paused, tier};
use crate::harness::{Instance, Options, eventually, patience};
use crate::tests;

tests!(a_hog_takes_the_memory_of_paused_sandboxes_and_of_none_that_serves);

/// Takes 8 MiB for each line that it reads.
const HOG: &str = "
import sys
taken = []
for line in sys.stdin:
    taken.append(b'x' * (8 << 20))
    print(len(taken), flush=True)
";

/// Waits for a byte from the test.
const SERVING: &str = "
import socket

def handler(port):
    with socket.create_connection(('127.0.0.1', port)) as test:
        return test.recv(1).decode()
";

/// A process in a group inside an instance's group.
struct Hog {
    group: PathBuf,
    child: Child,
}

impl Hog {
    fn start(around: &Path) -> Self {
        let group = around.join("hog");
        std::fs::create_dir(&group).unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", HOG]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let hog = Self { group, child: command.spawn().unwrap() };
        std::fs::write(hog.group.join("cgroup.procs"), hog.child.id().to_string()).unwrap();
        hog
    }

    /// Takes more memory until `enough` returns true.
    fn take_until(&mut self, what: &str, mut enough: impl FnMut() -> bool) {
        let mut answers = BufReader::new(self.child.stdout.as_mut().unwrap());
        let lines = self.child.stdin.as_mut().unwrap();
        eventually(what, || {
            lines.write_all(b"\n").unwrap();
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            assert_ne!(answer, "", "the hog was ended for want of memory");
            // The supervisor looks from time to time.
            std::thread::sleep(patience(1) / 50);
            enough()
        });
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir(&self.group);
    }
}

/// An instance's group in the hierarchy that limits memory, and the name of the limit's file.
fn limited(instance: &Instance) -> (PathBuf, &'static str) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let groups = mounts
        .lines()
        .filter(|line| line.contains(" cgroup"))
        .map(|line| Path::new(line.split(' ').nth(1).unwrap()).join(instance.group().unwrap()));
    groups
        .flat_map(|group| ["memory.max", "memory.limit_in_bytes"].map(|file| (group.clone(), file)))
        .find(|(group, file)| group.join(file).exists())
        .expect("a controller of memory")
}

fn a_hog_takes_the_memory_of_paused_sandboxes_and_of_none_that_serves() {
    let (tiers, memory) = (Some("paused,ssd"), Some("400M"));
    let instance = Instance::start(&Options { tiers, memory, ..Options::default() });
    let budget = instance.status()["memory_budget"].clone();
    let (group, limit) = limited(&instance);
    std::fs::write(group.join(limit), (600u64 << 20).to_string()).unwrap();

    let test = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = test.local_addr().unwrap().port();
    let timeout = patience(60).as_secs().to_string();
    instance.deploy("serving", SERVING, &["--network", "host", "--timeout", &timeout]);
    let names = ["one", "two", "three", "four", "five"];
    for name in names {
        deploy(&instance, name, 50, 0);
        tier(&instance, name);
    }
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| instance.invoke("serving", &json!(port)));
        let (mut connection, _) = test.accept().unwrap();
        assert_eq!(paused(&instance.status()), names);

        let mut hog = Hog::start(&group);
        let mut kept = Vec::new();
        hog.take_until("a paused sandbox is dropped", || {
            kept = paused(&instance.status());
            kept.len() < names.len()
        });
        // Those go first that were not used for longest.
        assert_eq!(kept, names[names.len() - kept.len()..]);
        assert_eq!(tier(&instance, kept.last().unwrap()), "paused");
        hog.take_until("all paused sandboxes are dropped", || {
            paused(&instance.status()).is_empty()
        });
        let status = instance.status();
        assert_eq!(status["sandboxes"][0]["function"], "serving", "{status}");
        assert!(status["memory_budget"].as_u64() < budget.as_u64(), "{status}");

        connection.write_all(b"y").unwrap();
        let answer = answer.join().unwrap();
        assert_eq!(answer["result"], "y", "{answer}");
        assert_eq!(connection.read(&mut [0]).unwrap(), 0);
        drop(hog);
    });
    eventually("all may be kept again", || instance.status()["memory_budget"] == budget);
    tier(&instance, "one");
    assert_eq!(tier(&instance, "one"), "paused");
}
