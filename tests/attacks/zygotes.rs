//! Attempts of packages in a zygote to get into the sandboxes of its children.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Attacked, wheel};
use crate::harness::{Index, eventually};
use crate::tests;

tests!(
    no_package_has_a_capability_in_a_zygotes_children,
    holders_have_no_variables,
    what_packages_hide_keeps_them_out_of_zygotes,
    tenants_have_nothing_of_a_zygote_in_common,
);

const INTRUDER: &str = include_str!("intruder.py");

const WELCOMING: &str = "
import time
import intruder

def handler(event):
    time.sleep(event)
    return intruder.found
";

/// The folder of a sandbox's root, as the host sees it by a process in it.
fn root_of(pid: &Value) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root"))
}

/// The findings in the sandbox of the zygote that has imported something.
fn report(zygote: &Value) -> Vec<Value> {
    let root = root_of(&zygote["pid"]);
    eventually("the helper is done", || root.join("tmp/over").exists());
    let text = std::fs::read_to_string(root.join("tmp/report")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn zygote(attacked: &Attacked) -> Value {
    let zygotes = attacked.instance.status()["zygotes"].clone();
    let has_imported = |zygote: &&Value| zygote["modules"].to_string().contains("intruder");
    zygotes.as_array().unwrap().iter().find(has_imported).unwrap().clone()
}

fn no_package_has_a_capability_in_a_zygotes_children() {
    let index = Index::start(&["six"], &[], None);
    index.add("intruder-1.0-py3-none-any.whl", &wheel("intruder", INTRUDER));
    let attacked = Attacked::from(&index);
    let instance = &attacked.instance;
    instance.ok(&["env", "add", "entered", "intruder"]);
    instance.deploy("welcoming", WELCOMING, &["--env", "entered", "--timeout", "30"]);
    instance.invoke("welcoming", &json!(0));
    let in_child = attacked.forked("welcoming", &json!(4))["result"].clone();
    let in_zygote = report(&zygote(&attacked));
    let attempts: Vec<_> = in_zygote.iter().chain(in_child.as_array().unwrap()).collect();
    let tried = |what: &str| attempts.iter().any(|attempt| attempt[0].as_str().unwrap() == what);
    for what in [
        "fork",
        "setresuid",
        "read environ of a child",
        "read memory of a child",
        "signal a child",
        "setns 7e020000",
        "passage at 0, blocked: True",
        "passage at 0, blocked: False",
    ] {
        assert!(tried(what), "{what} was not tried: {attempts:?}");
    }
    let succeeded: Vec<_> =
        attempts.iter().filter(|attempt| attempt[3] != 0 || attempt[1] == "done").collect();
    assert!(succeeded.is_empty(), "{succeeded:#?}");
    attacked.serves_others();
}

/// The supervisor's variables are for nobody else.
fn holders_have_no_variables() {
    let attacked = Attacked::start();
    attacked.serves_others();
    attacked.instance.await_zygotes();
    let zygotes = attacked.instance.status()["zygotes"].clone();
    let pid = &zygotes[0]["pid"];
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let inside = namespace(&pid.to_string());
    let all = std::fs::read_dir("/proc").unwrap();
    let mut holders = 0;
    for process in all {
        let process = process.unwrap().file_name().into_string().unwrap();
        let Ok(name) = std::fs::read_to_string(format!("/proc/{process}/comm")) else { continue };
        if name == "holder\n" && namespace(&process) == inside {
            holders += 1;
            let variables = std::fs::read(format!("/proc/{process}/environ")).unwrap();
            assert_eq!(String::from_utf8_lossy(&variables), "");
        }
    }
    assert_eq!(holders, 1);
}

/// Leaves something that children would share, and keeps the zygote from reporting it.
const HIDING: &str = "
import ctypes, mmap, os, sys, threading, time
hazards = sys.modules.get('pipsqueak_runtime.hazards')
if hazards:
    hazards.Probe.news = lambda self: ([], [])
    hazards.Probe.mapped = lambda self: []
    def leave(what):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        if what == 'writable':
            return mmap.mmap(-1, 4096)
        if what == 'not writable yet':
            file = os.memfd_create('later')
            os.ftruncate(file, 4096)
            address = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, file, ctypes.c_long(0))
            os.close(file)
            return address
        if what == 'segment':
            return libc.shmat(libc.shmget(0, 4096, 0o1600), None, 0)
        if what == 'pipe':
            return os.pipe()
        if what == 'printed':
            return os.dup2(os.memfd_create('mine'), 2)
        if what == 'process' and libc.fork() == 0:
            os.closerange(0, 100)
            time.sleep(10 ** 6)
        if what == 'thread':
            threading.Thread(target=time.sleep, args=(10 ** 6,), daemon=True).start()
        if what == 'segment in children':
            segment = libc.shmget(0, 4096, 0o1600)
            libc.shmat.restype = ctypes.c_void_p
            at = []
            os.register_at_fork(before=lambda: at.append(libc.shmat(segment, None, 0)),
                after_in_parent=lambda: libc.shmdt(ctypes.c_void_p(at.pop())))
        if what == 'socket in children':
            import socket
            at = []
            os.register_at_fork(before=lambda: at.append(socket.socketpair()), after_in_parent=at.clear)
    left = leave(WHAT)
";

fn what_packages_hide_keeps_them_out_of_zygotes() {
    let kinds = [
        "writable",
        "not writable yet",
        "segment",
        "pipe",
        "printed",
        "process",
        "thread",
        "segment in children",
        "socket in children",
    ];
    let index = Index::start(&["six"], &[], None);
    for (number, kind) in kinds.iter().enumerate() {
        let (name, code) = (format!("hiding{number}"), format!("WHAT = {kind:?}\n{HIDING}"));
        index.add(&format!("{name}-1.0-py3-none-any.whl"), &wheel(&name, &code));
    }
    let attacked = Attacked::from(&index);
    let instance = &attacked.instance;
    for (number, kind) in kinds.iter().enumerate() {
        let name = format!("hiding{number}");
        instance.ok(&["env", "add", &name, &name]);
        let code = format!("import {name}\ndef handler(event): return event\n");
        let user = format!("user{number}");
        instance.deploy(&user, &code, &["--env", &name]);
        assert_eq!(instance.invoke(&user, &json!(1))["result"], 1, "{kind}");
        let told = || instance.json(&["explain", &user, "--json"]).to_string();
        let has_it = || {
            let zygotes = instance.status()["zygotes"].clone();
            zygotes.as_array().unwrap().iter().any(|zygote| {
                zygote["state"] == "ready" && zygote["modules"].to_string().contains(&name)
            })
        };
        let is_looked_at = || told().contains("has not told of");
        // What its children are found to have ends it only then.
        let in_children = kind.ends_with("children");
        eventually(kind, || is_looked_at() || !in_children && has_it());
        assert!(is_looked_at() && !has_it(), "{kind}");
        instance.ok(&["evict", "--paused"]);
        assert_eq!(instance.invoke(&user, &json!(2))["result"], 2, "{kind}");
    }
    attacked.serves_others();
}

/// Returns what a process has from its parent: its hashes, and addresses in memory.
const LAYOUT: &str = "
import six
def handler(event):
    return [hash('seed'), id(six), open('/proc/self/maps').readline().split('-')[0], id(None)]
";

fn tenants_have_nothing_of_a_zygote_in_common() {
    let index = Index::start(&["six"], &[], None);
    let attacked = Attacked::from(&index);
    let instance = &attacked.instance;
    instance.ok(&["env", "add", "common", "six"]);
    for (name, tenant) in [("one", "acme"), ("same", "acme"), ("other", "umbrella")] {
        instance.deploy(name, LAYOUT, &["--env", "common", "--tenant", tenant]);
    }
    instance.deploy("nobodys", LAYOUT, &["--env", "common"]);
    let names = ["one", "same", "other", "nobodys"];
    for name in names {
        instance.invoke(name, &json!(null));
    }
    let [one, same, other, nobodys] =
        names.map(|name| attacked.forked(name, &json!(null))["result"].clone());
    assert_eq!(one, same);
    for (number, of_one) in one.as_array().unwrap().iter().enumerate() {
        // Where a part of an interpreter is at a fixed place, it is so for all.
        assert!(number == 2 || *of_one != other[number], "{number}: {one} {other}");
        assert!(number == 2 || *of_one != nobodys[number], "{number}: {one} {nobodys}");
    }
    assert_eq!(instance.json(&["functions", "show", "one", "--json"])["tenant"], "acme");
    assert!(instance.ok(&["functions", "show", "other"]).contains("tenant       umbrella"));
    let explained = instance.ok(&["explain", "other"]);
    assert!(explained.contains("is another tenant's"), "{explained}");
    let refused = instance.call(&["deploy", "x", "/etc/hostname", "--tenant", "a/../b"]);
    assert_eq!(refused.code, 2, "{refused:?}");
}
