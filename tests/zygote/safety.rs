//! Leftovers of imports that a fork would break or share keep those imports out of zygotes.

use serde_json::json;

use super::{fresh_and_forked, index, instance, zygote};
use crate::harness::{eventually, folder, shared};
use crate::tests;

tests!(
    what_leaves_a_hazard_is_left_out,
    what_is_trusted_is_imported_all_the_same,
    what_runs_whatever_is_imported_cannot_be_left_out,
    threads_that_stop_for_forks_do_no_harm,
);

const THREADED: &str = "
import threading, time
thread = threading.Thread(target=time.sleep, args=(10 ** 6,), name='watcher', daemon=True)
thread.start()
";
const CONNECTED: &str = "import socket\nsocket = socket.socket()\n";
const PARENTAL: &str = "import subprocess\nchild = subprocess.Popen(['sleep', '1000000'])\n";
/// Leaves a process that is no longer a child.
const DAEMONIC: &str = "
import os, time
child = os.fork()
if child == 0:
    if os.fork() == 0:
        os.closerange(0, 100)
        time.sleep(10 ** 6)
    os._exit(0)
os.waitpid(child, 0)
";
const HOLDING: &str = "file = open(__file__)\n";
const DRIVING: &str = "
import ctypes, ctypes.util, shutil
shutil.copy(ctypes.util._findLib_ld('m') or '/lib/x86_64-linux-gnu/libm.so.6', '/tmp/libcuda.so.1')
driver = ctypes.CDLL('/tmp/libcuda.so.1')
";
const SHARING: &str = "import mmap\nblock = mmap.mmap(-1, 4096)\n";
const IMPORTING: &str = "import threaded\n";
const HARMLESS: &str = "
import atexit, os, signal, subprocess, threading
atexit.register(print)
os.register_at_fork(after_in_child=lambda: None)
signal.signal(signal.SIGUSR1, lambda *_: None)
thread = threading.Thread(target=print)
thread.start()
thread.join()
subprocess.run(['true'], check=True)
open(__file__).close()
";
/// Leaves things and takes them back before a fork.
const PASSING: &str = "
import mmap, socket
import snapshot_restore_py
connection = socket.socket()
mmap.mmap(-1, 4096).close()
snapshot_restore_py.register_before_snapshot(connection.close)
";

const PACKAGES: [(&str, &str); 10] = [
    ("connected", CONNECTED),
    ("daemonic", DAEMONIC),
    ("driving", DRIVING),
    ("harmless", HARMLESS),
    ("holding", HOLDING),
    ("importing", IMPORTING),
    ("parental", PARENTAL),
    ("passing", PASSING),
    ("sharing", SHARING),
    ("threaded", THREADED),
];

const USER: &str = "
import connected, daemonic, driving, harmless, holding, importing, parental, passing, sharing, threaded

def handler(event):
    return [threaded.thread.is_alive(), parental.child.poll(), holding.file.read(4)]
";

fn what_leaves_a_hazard_is_left_out() {
    let index = index(&["six"], &PACKAGES);
    let instance = instance(&index, None, None);
    let names = PACKAGES.map(|(name, _)| name);
    instance.ok(&[["env", "add", "risky"].as_slice(), &names].concat());
    instance.deploy("user", USER, &["--env", "risky"]);
    let expected = json!([true, null, "file"]);
    assert_eq!(
        fresh_and_forked(&instance, "user", &json!({})),
        (expected.clone(), expected.clone())
    );
    let seen = zygote(&instance);
    assert_eq!(seen["modules"], json!(["harmless", "passing"]), "{seen}");
    let reason = seen["reason"].as_str().unwrap();
    for part in [
        "connected left out: leaves a socket open",
        "daemonic left out: leaves a process running: python",
        "driving left out: leaves a GPU's driver loaded: libcuda",
        "holding left out: leaves a descriptor open: /pipsqueak/env/lib/python3.11/site-packages/holding.py",
        "importing left out: leaves a thread running: watcher, by importing threaded",
        "parental left out: leaves a process running: sleep",
        "sharing left out: leaves memory that processes share: /dev/zero (deleted)",
        "threaded left out: leaves a thread running: watcher",
    ] {
        assert!(reason.contains(part), "{part} is not in {reason}");
    }
    assert!(!reason.contains("harmless") && !reason.contains("passing"), "{reason}");
    // Known by now: the next one starts without them at once.
    let log = || std::fs::read_to_string(instance.run().join("pipsqueakd.log")).unwrap();
    let found = log().matches("not for zygotes").count();
    instance.ok(&["evict"]);
    assert_eq!(fresh_and_forked(&instance, "user", &json!({})), (expected.clone(), expected));
    assert_eq!(log().matches("not for zygotes").count(), found);
}

fn what_is_trusted_is_imported_all_the_same() {
    let index = index(&["six"], &PACKAGES);
    let settings = folder();
    let config = settings.path().join("config.toml");
    std::fs::write(&config, "fork_safe = [\"holding\"]\n").unwrap();
    let instance = instance(&index, None, config.to_str());
    instance.ok(&["env", "add", "risky", "holding", "connected"]);
    let code = "import holding\ndef handler(event): return holding.file.read(4)\n";
    instance.deploy("user", code, &["--env", "risky"]);
    assert_eq!(fresh_and_forked(&instance, "user", &json!({})), (json!("file"), json!("file")));
    let seen = zygote(&instance);
    assert_eq!(seen["modules"], json!(["holding"]), "{seen}");
}

fn what_runs_whatever_is_imported_cannot_be_left_out() {
    let starting = "import socket, sys; sys.leaked = socket.socket()\n";
    let hooking = "
import os, snapshot_restore_py
snapshot_restore_py.register_before_snapshot(os.pipe)
";
    let index = index(&["six"], &[("starting.pth", starting), ("hooking", hooking)]);
    let instance = instance(&index, None, None);
    for (package, says) in [
        ("starting", "site leaves a socket open"),
        ("hooking", "snapshot_restore_py leaves a descriptor open: pipe:"),
    ] {
        instance.ok(&["env", "add", package, package]);
        let code = format!("import {package}\ndef handler(event): return 1\n");
        instance.deploy("user", &code, &["--env", package]);
        assert_eq!(instance.invoke("user", &json!({}))["result"], 1);
        // That of the environment before it may be tried again meanwhile.
        eventually(&format!("a zygote is refused: {says}"), || {
            let zygotes = instance.status()["zygotes"].clone();
            zygotes.as_array().unwrap().iter().any(|one| {
                let reason = one["reason"].as_str().unwrap_or_default();
                one["state"] == "failed" && reason.contains(says)
            })
        });
        instance.ok(&["evict", "--paused"]);
        assert_eq!(instance.invoke("user", &json!({}))["tier"], "ssd");
        instance.ok(&["evict"]);
    }
}

/// `OpenBLAS` starts threads at the import of numpy.
fn threads_that_stop_for_forks_do_no_harm() {
    let instance = shared();
    let code = "
import os
import numpy

def handler(event):
    a = numpy.ones((500, 500))
    return [float((a @ a)[0, 0]), len(os.listdir('/proc/self/task'))]
";
    instance.deploy("blas", code, &["--env", "science"]);
    instance.invoke("blas", &json!({}));
    instance.await_zygotes();
    let status = instance.status();
    let zygotes = status["zygotes"].as_array().unwrap();
    let science = zygotes.iter().find(|zygote| zygote["modules"].to_string().contains("numpy"));
    let science = science.unwrap_or_else(|| panic!("{zygotes:?}"));
    assert_eq!(science["reason"], json!(null), "{science}");
    instance.ok(&["evict", "blas", "--paused"]);
    let answer = instance.invoke("blas", &json!({}));
    assert_eq!(
        (&answer["tier"], &answer["result"][0]),
        (&json!("zygote"), &json!(500.0)),
        "{answer}"
    );
    // And it works with as many threads as it would otherwise.
    let processors = std::thread::available_parallelism().unwrap().get();
    assert_eq!(answer["result"][1], processors, "{answer}");
}
