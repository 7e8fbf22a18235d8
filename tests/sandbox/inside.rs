//! A prober, run as a function, tells what it can see and do.

use serde_json::{Value, json};

use crate::harness::{Instance, Options};
use crate::tests;

tests!(
    it_is_nobody_and_may_nothing,
    it_sees_its_own_processes_only,
    its_root_is_its_own,
    it_can_change_nothing_but_its_tmp,
    packages_are_read_only_whatever_the_way,
    it_reaches_no_process_outside,
    its_network_is_its_own,
    functions_share_nothing_they_write,
    forked_and_fresh_are_the_same,
    installing_is_contained_too,
);

const PROBER: &str = "
import os, signal, socket, subprocess

def attempt(act):
    try:
        return ['done', act()]
    except BaseException as error:
        return ['refused', getattr(error, 'errno', None) or type(error).__name__]

def descriptors():
    found = {}
    for number in os.listdir('/proc/self/fd'):
        try:
            found[number] = os.readlink(f'/proc/self/fd/{number}')
        except FileNotFoundError:
            pass
    return found

def handler(event):
    return attempt(lambda: eval(event, globals()))
";

/// An instance with a prober, from an interpreter of its own or forked from a zygote.
struct Probed(Instance);

impl Probed {
    fn start() -> Self {
        let instance = Instance::start(&Options::default());
        // More memory than /tmp may have, which counts as memory.
        instance.deploy("prober", PROBER, &["--set", "GIVEN=value", "--memory", "2G"]);
        Self(instance)
    }

    /// Starts such an instance whose prober is forked from a zygote.
    fn forked() -> Self {
        let probed = Self::start();
        probed.ask("1");
        probed.0.await_zygotes();
        probed.0.ok(&["evict", "--paused"]);
        assert_eq!(probed.0.invoke("prober", &json!("1"))["tier"], "zygote");
        probed
    }

    /// Evaluates an expression in the sandbox; returns its value, or the errno of its failure.
    fn ask(&self, expression: &str) -> Value {
        let answer = self.0.invoke("prober", &json!(expression));
        assert_eq!(answer["outcome"], "done", "{expression}: {answer}");
        answer["result"].clone()
    }

    fn done(&self, expression: &str) -> Value {
        let answer = self.ask(expression);
        assert_eq!(answer[0], "done", "{expression}: {answer}");
        answer[1].clone()
    }

    fn refused(&self, expression: &str, reasons: &[i64]) {
        let answer = self.ask(expression);
        assert_eq!(answer[0], "refused", "{expression}: {answer}");
        if let Some(errno) = answer[1].as_i64() {
            assert!(reasons.contains(&errno), "{expression}: {answer}");
        }
    }
}

const EPERM: i64 = 1;
const ENOENT: i64 = 2;
const ESRCH: i64 = 3;
const EACCES: i64 = 13;
const EROFS: i64 = 30;
const ENOSPC: i64 = 28;
const ENETUNREACH: i64 = 101;

fn status(probed: &Probed) -> std::collections::BTreeMap<String, String> {
    let text = probed.done("open('/proc/self/status').read()");
    let lines = text.as_str().unwrap().lines().filter_map(|line| line.split_once(":\t"));
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn it_is_nobody_and_may_nothing() {
    for probed in [Probed::start(), Probed::forked()] {
        let id = probed.done("subprocess.check_output(['id'], text=True)");
        assert!(id.as_str().unwrap().starts_with("uid=1000(function) gid=1000(function)"), "{id}");
        let status = status(&probed);
        for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{set}");
        }
        assert_eq!(status["NoNewPrivs"], "1");
        assert_eq!(status["Uid"], "1000\t1000\t1000\t1000");
        assert_eq!(status["Groups"], "");
        // On the host it is a user that is nobody else's.
        let pid = probed.0.status()["sandboxes"][0]["pid"].as_u64().unwrap();
        let outside = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let uid = outside.lines().find_map(|line| line.strip_prefix("Uid:\t")).unwrap();
        assert!(uid.split('\t').next().unwrap().parse::<u32>().unwrap() > 1_879_048_192, "{uid}");
        probed.refused("os.setuid(0)", &[EPERM]);
        probed.refused("os.chroot('/tmp')", &[EPERM]);
        probed.refused("socket.sethostname('x')", &[EPERM]);
    }
}

fn it_sees_its_own_processes_only() {
    for probed in [Probed::start(), Probed::forked()] {
        let pids = probed.done("[p for p in os.listdir('/proc') if p.isdigit()]");
        assert!(pids.as_array().unwrap().len() <= 2, "{pids}");
        let descriptors = probed.done("descriptors()");
        let open = descriptors.as_object().unwrap();
        assert!(open["0"] == "/dev/null" && open["1"].as_str().unwrap().starts_with("pipe:"));
        let others = open.iter().filter(|(number, target)| {
            number.parse::<u32>().unwrap() > 2 && !target.as_str().unwrap().starts_with("/proc/")
        });
        // The channel to the supervisor, and nothing that leads outside.
        let others: Vec<_> = others.collect();
        assert!(
            others.len() == 1 && others[0].1.as_str().unwrap().starts_with("socket:"),
            "{open:?}"
        );
        let given = probed.done("dict(os.environ)");
        assert_eq!(given["GIVEN"], "value");
        assert!(!given.to_string().contains("PIPSQUEAK_STATE"), "{given}");
    }
}

fn its_root_is_its_own() {
    let probed = Probed::start();
    let root = probed.done("sorted(os.listdir('/'))");
    let interpreter = probed.done("__import__('sys').base_prefix");
    let top = interpreter.as_str().unwrap().split('/').nth(1).unwrap().to_owned();
    let mut expected = [
        "bin",
        "dev",
        "etc",
        "function",
        "lib",
        "lib64",
        "pipsqueak",
        "proc",
        "sbin",
        "sys",
        "tmp",
        "usr",
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    expected.push(top);
    expected.sort();
    expected.dedup();
    let names: Vec<_> = root.as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assert!(names.iter().all(|name| expected.iter().any(|e| e == name)), "{names:?}");
    // This file is one that anybody may read on the host.
    let readable = concat!(env!("CARGO_MANIFEST_DIR"), "/sandbox/inside.rs");
    for secret in [
        "/etc/shadow",
        "/etc/hostname",
        "/root/.profile",
        "/root/.ssh",
        "/var",
        "/home",
        "/sys/kernel",
        readable,
    ] {
        probed.refused(&format!("open('{secret}').read()"), &[ENOENT, EACCES]);
    }
    let state = probed.0.state();
    probed.refused(&format!("os.listdir('{}')", state.display()), &[ENOENT, EACCES]);
    let holder = probed.done("open('/proc/1/cmdline').read()");
    assert!(!holder.as_str().unwrap().contains(probed.0.path().to_str().unwrap()), "{holder}");
    let outside = probed.done("os.path.exists('/proc/1/root/etc/shadow')");
    assert_eq!(outside, false);
    assert_eq!(probed.done("os.getcwd()"), "/function");
    assert_eq!(probed.done("os.listdir('/function')"), json!(["prober.py"]));
}

fn it_can_change_nothing_but_its_tmp() {
    for probed in [Probed::start(), Probed::forked()] {
        for path in [
            "/pipsqueak/runtime/x",
            "/function/x.py",
            "/function/prober.py",
            "/usr/bin/x",
            "/etc/passwd",
            "/x",
        ] {
            probed.refused(&format!("open('{path}', 'w')"), &[EROFS, EACCES]);
        }
        probed.refused("os.chmod('/pipsqueak/env/pyvenv.cfg', 0o777)", &[EROFS, EPERM]);
        probed
            .refused("open('/proc/sys/kernel/hostname', 'w').write('x')", &[EACCES, EPERM, EROFS]);
        assert_eq!(probed.done("open('/tmp/x', 'w').write('mine')"), 4);
        assert_eq!(probed.done("open('/dev/shm/x', 'w').write('mine')"), 4);
        assert_eq!(probed.done("open('/dev/null', 'w').write('gone')"), 4);
        probed.refused("[open('/tmp/y', 'wb').write(bytes(600 << 20))]", &[ENOSPC]);
        probed.refused("os.mknod('/tmp/z', 0o20666, 0x101)", &[EPERM]);
    }
}

fn packages_are_read_only_whatever_the_way() {
    let probed = Probed::start();
    probed.0.ok(&["env", "add", "tools", "six"]);
    probed.0.deploy("prober", PROBER, &["--env", "tools"]);
    let site = "/pipsqueak/env/lib/python3.11/site-packages";
    let six = format!("{site}/six.py");
    assert_eq!(probed.done("__import__('six').__file__"), six);
    for act in [
        format!("open('{six}', 'w')"),
        format!("open('{six}', 'r+b')"),
        format!("open('{site}/new.py', 'w')"),
        format!("os.mkdir('{site}/new')"),
        format!("os.unlink('{six}')"),
        format!("os.rename('{six}', '{site}/other.py')"),
        format!("os.link('{six}', '{site}/other.py')"),
        format!("os.symlink('/tmp', '{site}/other')"),
        format!("os.chmod('{six}', 0o777)"),
        format!("os.chown('{six}', 1000, 1000)"),
        format!("os.utime('{six}')"),
        format!("os.truncate('{six}', 0)"),
        format!("os.setxattr('{six}', 'user.x', b'x')"),
    ] {
        probed.refused(&act, &[EROFS]);
    }
}

fn it_reaches_no_process_outside() {
    for probed in [Probed::start(), Probed::forked()] {
        let supervisor = probed.0.status()["pid"].to_string();
        probed.refused(&format!("os.kill({supervisor}, signal.SIGTERM)"), &[ESRCH]);
        // Where this is the first process of a container, its number is that of one inside, too.
        let refusals = if std::process::id() == 1 { [EPERM] } else { [ESRCH] };
        probed.refused(&format!("os.kill({}, 0)", std::process::id()), &refusals);
        probed.refused("os.kill(1, signal.SIGKILL)", &[EPERM, ESRCH]);
        probed.refused("open('/proc/1/mem', 'rb').read(1)", &[EACCES, EPERM]);
        probed.refused("os.listdir('/proc/1/fd')", &[EACCES, EPERM]);
        assert_eq!(probed.0.status()["pid"].to_string(), supervisor);
    }
}

fn its_network_is_its_own() {
    let probed = Probed::start();
    let names = probed.done("[name for _, name in socket.if_nameindex()]");
    assert_eq!(names, json!(["lo"]));
    probed.refused("socket.create_connection(('192.0.2.1', 80), 1)", &[ENETUNREACH]);
    // Its own loopback works, and the host's abstract sockets are not there.
    let echo = "(lambda s: (s.bind(('127.0.0.1', 0)), s.listen(), socket.create_connection(s.getsockname()))[0])(socket.socket())";
    assert_eq!(probed.done(echo), json!(null));
    probed.0.deploy("online", PROBER, &["--network", "host"]);
    let answer = probed.0.invoke("online", &json!("len(socket.if_nameindex())"));
    let host = std::fs::read_dir("/sys/class/net").unwrap().count();
    assert_eq!(answer["result"][1], host, "{answer}");
}

fn functions_share_nothing_they_write() {
    let probed = Probed::start();
    probed.done("open('/tmp/secret', 'w').write('mine')");
    probed.0.deploy("other", PROBER, &[]);
    let other = |expression: &str| probed.0.invoke("other", &json!(expression))["result"].clone();
    assert_eq!(other("os.listdir('/tmp')")[1], json!([]));
    assert_eq!(other("os.environ.get('GIVEN')")[1], json!(null));
    let names = [probed.done("os.uname().nodename"), other("os.uname().nodename")[1].clone()];
    assert_ne!(names[0], names[1]);
    let namespaces = "[os.readlink('/proc/self/ns/' + n) for n in ('user', 'mnt', 'pid', 'ipc', 'uts', 'net', 'cgroup')]";
    let (one, two) = (probed.done(namespaces), other(namespaces)[1].clone());
    for (one, two) in one.as_array().unwrap().iter().zip(two.as_array().unwrap()) {
        assert_ne!(one, two);
    }
}

fn forked_and_fresh_are_the_same() {
    let (fresh, forked) = (Probed::start(), Probed::forked());
    for expression in [
        "__import__('sys').path",
        "__import__('sys').argv",
        "__import__('sys').prefix",
        "sorted(os.environ)",
        "os.getcwd()",
        "sorted(os.listdir('/'))",
        "signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL",
        "subprocess.run(['false']).returncode",
        "__import__('threading').active_count()",
    ] {
        assert_eq!(fresh.ask(expression), forked.ask(expression), "{expression}");
    }
    let draws = |probed: &Probed| probed.done("__import__('random').random()");
    assert_ne!(draws(&fresh), draws(&forked));
}

/// Downloads belong to the installing user, which is no user of the host.
fn installing_is_contained_too() {
    let instance = crate::harness::shared();
    let user =
        |path: &std::path::Path| std::os::unix::fs::MetadataExt::uid(&path.metadata().unwrap());
    let cache = crate::harness::cache().join("uv");
    assert_eq!(user(&cache), 1_879_048_193);
    let made = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    assert!(made.map(|path| user(&path)).all(|uid| uid == 1_879_048_193));
    // What was stored of it is root's, and nobody else's to change.
    for entry in std::fs::read_dir(instance.state().join("segments")).unwrap() {
        assert_eq!(user(&entry.unwrap().path()), 0);
    }
}
