//! Attempts to reach out of a sandbox: by a function that was started, by one that was forked, by a
//! package that a zygote imports, and by the build of a package.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use nix::libc;
use pipsqueak_kernel::landlock;
use serde_json::{Value, json};

use super::{Attacked, source, wheel};
use crate::harness::{Index, Instance};
use crate::tests;

tests!(
    whoever_runs_it_code_reaches_nothing,
    a_build_leaves_nothing_that_leads_elsewhere,
    abstract_sockets_of_the_host_are_out_of_reach_in_its_network,
);

const PROBE: &str = include_str!("probe.py");

const ALL_NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;
const FORK: i32 = libc::CLONE_NEWUSER | libc::SIGCHLD;
const USER_MODE_ONLY: i64 = 1;
const TIOCSTI: i64 = 0x5412;

/// System calls, harmless with these arguments, and the error that each must give. Most would give
/// another error without a filter.
const CALLS: &[(&str, libc::c_long, [i64; 4], i32)] = &[
    ("mount", libc::SYS_mount, [0; 4], libc::EPERM),
    ("umount2", libc::SYS_umount2, [0; 4], libc::EPERM),
    ("pivot_root", libc::SYS_pivot_root, [0; 4], libc::EPERM),
    ("chroot", libc::SYS_chroot, [0; 4], libc::EPERM),
    ("open_tree", libc::SYS_open_tree, [-1, 0, 0, 0], libc::EPERM),
    ("move_mount", libc::SYS_move_mount, [-1, 0, -1, 0], libc::EPERM),
    ("fsopen", libc::SYS_fsopen, [0; 4], libc::EPERM),
    ("fsmount", libc::SYS_fsmount, [-1, 0, 0, 0], libc::EPERM),
    ("mount_setattr", libc::SYS_mount_setattr, [-1, 0, 0, 0], libc::EPERM),
    ("unshare nothing", libc::SYS_unshare, [0; 4], libc::EPERM),
    ("unshare user", libc::SYS_unshare, [libc::CLONE_NEWUSER as i64, 0, 0, 0], libc::EPERM),
    ("clone user", libc::SYS_clone, [FORK as i64, 0, 0, 0], libc::EPERM),
    ("clone3", libc::SYS_clone3, [0; 4], libc::ENOSYS),
    ("setns user", libc::SYS_setns, [-1, libc::CLONE_NEWUSER as i64, 0, 0], libc::EPERM),
    ("setns any", libc::SYS_setns, [-1, 0, 0, 0], libc::EPERM),
    (JOIN, libc::SYS_setns, [-1, ALL_NAMESPACES as i64, 0, 0], libc::EPERM),
    ("ptrace", libc::SYS_ptrace, [libc::PTRACE_ATTACH as i64, 1, 0, 0], libc::EPERM),
    ("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0], libc::EPERM),
    ("process_vm_writev", libc::SYS_process_vm_writev, [1, 0, 0, 0], libc::EPERM),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, [-1, 0, 0, 0], libc::EPERM),
    ("kcmp", libc::SYS_kcmp, [1, 1, 0, 0], libc::EPERM),
    ("bpf", libc::SYS_bpf, [0; 4], libc::EPERM),
    ("perf_event_open", libc::SYS_perf_event_open, [0; 4], libc::EPERM),
    ("userfaultfd", libc::SYS_userfaultfd, [USER_MODE_ONLY, 0, 0, 0], libc::EPERM),
    ("vmsplice", libc::SYS_vmsplice, [-1, 0, 0, 0], libc::EPERM),
    ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0], libc::EPERM),
    ("io_uring_enter", libc::SYS_io_uring_enter, [-1, 0, 0, 0], libc::EPERM),
    ("io_uring_register", libc::SYS_io_uring_register, [-1, 0, 0, 0], libc::EPERM),
    ("keyctl", libc::SYS_keyctl, [0, -3, 0, 0], libc::EPERM),
    ("add_key", libc::SYS_add_key, [0; 4], libc::EPERM),
    ("request_key", libc::SYS_request_key, [0; 4], libc::EPERM),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, [-1, 0, 0, 0], libc::EPERM),
    ("name_to_handle_at", libc::SYS_name_to_handle_at, [-1, 0, 0, 0], libc::EPERM),
    ("fanotify_init", libc::SYS_fanotify_init, [0; 4], libc::EPERM),
    ("kexec_load", libc::SYS_kexec_load, [0; 4], libc::EPERM),
    ("init_module", libc::SYS_init_module, [0; 4], libc::EPERM),
    ("finit_module", libc::SYS_finit_module, [-1, 0, 0, 0], libc::EPERM),
    ("delete_module", libc::SYS_delete_module, [0; 4], libc::EPERM),
    ("reboot", libc::SYS_reboot, [0; 4], libc::EPERM),
    ("swapon", libc::SYS_swapon, [0; 4], libc::EPERM),
    ("quotactl", libc::SYS_quotactl, [0; 4], libc::EPERM),
    ("acct", libc::SYS_acct, [1, 0, 0, 0], libc::EPERM),
    ("settimeofday", libc::SYS_settimeofday, [0; 4], libc::EPERM),
    ("clock_settime", libc::SYS_clock_settime, [0; 4], libc::EPERM),
    ("adjtimex", libc::SYS_adjtimex, [0; 4], libc::EPERM),
    ("syslog", libc::SYS_syslog, [10, 0, 0, 0], libc::EPERM),
    ("personality", libc::SYS_personality, [0x0040_0000, 0, 0, 0], libc::EPERM),
    ("typing into a terminal", libc::SYS_ioctl, [0, TIOCSTI, 0, 0], libc::EPERM),
    // CVE-2019-7303.
    ("the same, hidden", libc::SYS_ioctl, [0, 1 << 32 | TIOCSTI, 0, 0], libc::EPERM),
    ("a socket that loads a module", libc::SYS_socket, [2, 1, 132, 0], libc::EPERM),
    ("raw packets by an old name", libc::SYS_socket, [2, 10, 0, 0], libc::EPERM),
    ("a call that there is not", 4000, [0; 4], libc::ENOSYS),
    ("a call of x32", 0x4000_0027, [0; 4], libc::ENOSYS),
];

/// The one call that the filter of a zygote's children allows; it fails only because it joins nothing.
const JOIN: &str = "setns as into a sandbox";

/// The attacker's knowledge of the host: files and processes that exist there, and may be read by all.
fn host(instance: &Instance, abstract_name: &str, package: bool) -> Value {
    let calls = CALLS.iter().map(|(name, number, arguments, _)| json!([name, number, arguments]));
    json!({
        "files": [
            concat!(env!("CARGO_MANIFEST_DIR"), "/attacks/probe.py"),
            instance.state().join("catalog.sqlite"),
            instance.run().join("pipsqueakd.log"),
        ],
        "folders": [instance.state(), instance.state().join("functions"), instance.run()],
        "processes": [std::process::id(), instance.status()["pid"]],
        "socket": instance.run().join("supervisor.sock"),
        "abstract": abstract_name,
        "package": package,
        "calls": calls.collect::<Vec<_>>(),
    })
}

fn abstract_listener(name: &str) -> (String, UnixListener) {
    let name = format!("pipsqueak-{name}-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    (name, UnixListener::bind_addr(&address).unwrap())
}

fn is_contained(who: &str, found: &Value) {
    for (name, value) in found["status"].as_object().unwrap() {
        let expected = match name.as_str() {
            "NoNewPrivs" => "1",
            // With a filter; how many there are is another line.
            "Seccomp" => "2",
            "Groups" => "",
            _ => "0000000000000000",
        };
        assert_eq!(value, expected, "{who}: {name}");
    }
    assert_eq!(found["status"].as_object().unwrap().len(), 8, "{who}: {}", found["status"]);
    for (name, _, _, expected) in CALLS {
        let joins = *name == JOIN && who == "zygote";
        let expected = if joins { libc::EBADF } else { *expected };
        assert_eq!(found["calls"][name], expected, "{who}: {name}");
    }
    assert_eq!(found["old calls"], -libc::SIGSYS, "{who}");
    let tried = found["ways out"].as_object().unwrap();
    let succeeded: Vec<_> = tried.iter().filter(|(_, outcome)| outcome[0] != "refused").collect();
    assert!(tried.len() > 70 && succeeded.is_empty(), "{who}: {succeeded:?}");
    assert!(found["masked"]["interrupts"].is_u64(), "{who}: {}", found["masked"]);
    for (name, length) in found["masked"].as_object().unwrap() {
        assert_eq!(*length, 0, "{who}: /proc/{name}");
    }
}

/// Checks that a process has the descriptors that it should have: the usual three, and the channel
/// for a function or zygote.
fn has_its_descriptors_only(who: &str, found: &Value) {
    for (number, target) in found["descriptors"].as_object().unwrap() {
        let target = target.as_str().unwrap();
        let is_right = match (number.as_str(), who) {
            ("0", _) => target == "/dev/null",
            // What it prints is kept for its children.
            ("1" | "2", "zygote") => target == "/memfd:printed (deleted)",
            ("1" | "2", _) => target == "/dev/null" || target.starts_with("pipe:"),
            // A build's compilers and their temporary files.
            (_, "build") => ["pipe:", "/tmp/", "/pipsqueak/work/", "/proc/"]
                .iter()
                .any(|allowed| target.starts_with(allowed)),
            ("3", _) => target.starts_with("socket:"),
            // The folder that is being listed.
            _ => target.starts_with("/proc/"),
        };
        assert!(is_right, "{who}: {number} is {target}");
    }
}

fn whoever_runs_it_code_reaches_nothing() {
    let index = Index::start(&["setuptools", "wheel", "packaging"], &[], None);
    let attacked = Attacked::from(&index);
    let instance = &attacked.instance;
    let (name, listener) = abstract_listener("reach");
    let function = format!("{PROBE}\ndef handler(event): return report(event)\n");
    instance.deploy("fresh", &function, &[]);

    let at_import = format!("import json\nfound = report(json.loads({}))\n", {
        json!(host(instance, &name, true).to_string())
    });
    index.add("attacker-1.0-py3-none-any.whl", &wheel("attacker", &format!("{PROBE}{at_import}")));
    let building = format!(
        "{PROBE}import json\nfound = report(json.loads({}))\n\
         open('built.py', 'w').write(f'found = {{found!r}}')\n\
         from setuptools import setup\n\
         setup(name='built', version='1.0', py_modules=['built'])\n",
        json!(host(instance, &name, false).to_string())
    );
    index.add("built-1.0.tar.gz", &source("built", &building));
    instance.ok(&["env", "add", "attackers", "attacker"]);
    instance.ok(&["env", "add", "builders", "built", "--allow-build"]);
    for (function, environment, module) in
        [("imports", "attackers", "attacker"), ("builds", "builders", "built")]
    {
        let code = format!("import {module}\ndef handler(event): return {module}.found\n");
        instance.deploy(function, &code, &["--env", environment]);
    }

    let event = host(instance, &name, true);
    let fresh = instance.invoke("fresh", &event)["result"].clone();
    instance.invoke("imports", &json!({}));
    let zygote = attacked.forked("imports", &json!({}))["result"].clone();
    let forked = attacked.forked("fresh", &event)["result"].clone();
    let build = instance.invoke("builds", &json!({}))["result"].clone();
    for (who, found) in
        [("fresh", &fresh), ("forked", &forked), ("zygote", &zygote), ("build", &build)]
    {
        is_contained(who, found);
        has_its_descriptors_only(who, found);
    }
    assert!(zygote["command"].as_str().unwrap().contains("zygote"), "{}", zygote["command"]);
    assert!(build["command"].as_str().unwrap().contains("python"), "{}", build["command"]);
    let numbers = |found: &Value| found["descriptors"].as_object().unwrap().len();
    assert_eq!(numbers(&fresh), numbers(&forked));
    drop(listener);
    attacked.serves_others();
}

/// Changes the result of a build for as long as a process in its sandbox lives.
const MEDDLER: &str = "
import os, sys
NAME, SECRET, OUT = 'name', 'secret', '/pipsqueak/work/out'
WHEEL = f'{NAME}-1.0-py3-none-any.whl'

def folder():
    os.rename(OUT, OUT + '.kept')
    os.symlink(SECRET, OUT)

def file():
    os.symlink(f'{SECRET}/{WHEEL}', f'{OUT}/x')
    os.replace(f'{OUT}/x', f'{OUT}/{WHEEL}')

open(f'{NAME}.py', 'w').write('honest = True')
if 'bdist_wheel' in sys.argv and os.fork() == 0:
    os.setsid()
    os.closerange(0, 100)
    while True:
        try:
            if os.path.isfile(f'{OUT}/{WHEEL}'):
                globals()[NAME]()
        except OSError:
            pass
from setuptools import setup
setup(name=NAME, version='1.0', py_modules=[NAME])
";

/// The supervisor reads the result of a build as root. The race decides whether there is a package
/// in the end; it is never the host's.
fn a_build_leaves_nothing_that_leads_elsewhere() {
    let index = Index::start(&["setuptools", "wheel", "packaging"], &[], None);
    let attacked = Attacked::from(&index);
    let instance = &attacked.instance;
    let secret = instance.scratch().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for name in ["folder", "file"] {
        make(
            &secret.join(format!("{name}-1.0-py3-none-any.whl")),
            &wheel(name, "honest = False\n"),
        );
        let setup = MEDDLER.replace("'name'", &format!("'{name}'"));
        let setup = setup.replace("'secret'", &format!("'{}'", secret.display()));
        index.add(&format!("{name}-1.0.tar.gz"), &source(name, &setup));
        let added = instance.call(&["env", "add", name, name, "--allow-build"]);
        if added.code == 0 {
            let code = format!("import {name}\ndef handler(event): return {name}.honest\n");
            instance.deploy(name, &code, &["--env", name]);
            assert_eq!(instance.invoke(name, &json!({}))["result"], true, "{name}");
        } else {
            assert_eq!(added.code, 2, "{name}: {added:?}");
            assert_eq!(instance.call(&["env", "show", name]).code, 4, "{name}");
        }
        attacked.serves_others();
    }
}

fn make(path: &Path, making: &str) {
    let made = std::process::Command::new("python3").args(["-c", making]).arg(path).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// Only from Linux 6.12 on, whose Landlock bounds abstract sockets.
fn abstract_sockets_of_the_host_are_out_of_reach_in_its_network() {
    if landlock::version() < 6 {
        return;
    }
    let attacked = Attacked::start();
    let (name, _listener) = abstract_listener("network");
    let code = "
import socket

def handler(event):
    names = len(socket.if_nameindex())
    try:
        socket.socket(socket.AF_UNIX).connect('\\0' + event)
        return [names, 'connected']
    except OSError as error:
        return [names, error.errno]
";
    attacked.instance.deploy("online", code, &["--network", "host"]);
    let fresh = attacked.instance.invoke("online", &json!(name))["result"].clone();
    let forked = attacked.forked("online", &json!(name))["result"].clone();
    let interfaces = std::fs::read_dir("/sys/class/net").unwrap().count();
    assert_eq!(fresh, json!([interfaces, libc::EPERM]));
    assert_eq!(forked, fresh);
    attacked.serves_others();
}
