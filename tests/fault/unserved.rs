//! The mount's server reads its requests and answers none, while it is asked in every way and
//! processes are killed around it in every order. Each asker gets an answer or an error, and the
//! machine is free again.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::succession::server;
use crate::harness::{Instance, Options, Process, dropped_caches, eventually, patience};
use crate::tests;

tests!(
    a_server_that_answers_nothing_is_replaced,
    down_ends_what_is_asked,
    deaths_in_every_order_leave_the_machine_free,
    only_keeper_and_server_have_the_connection,
    a_killed_prefetcher_is_replaced,
);

/// Copies another process's connection and reads requests from it, which then get no answer: a
/// process that waits for one cannot even be killed. Prints each request's arrival.
const THIEF: &str = "
import ctypes, os, sys

libc = ctypes.CDLL(None, use_errno=True)
connection = libc.syscall(438, os.pidfd_open(int(sys.argv[1])), 0, 0)
assert connection >= 0, os.strerror(ctypes.get_errno())
print('ready', flush=True)
while True:
    os.read(connection, 1 << 25)
    print('stolen', flush=True)
";

/// Maps a file and reads it.
const MAP: &str = "
import mmap, sys
file = open(sys.argv[1])
mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[0]
";

/// An instance whose function's environment is in the mount; no request for it is under way.
struct Unserved {
    instance: Instance,
}

/// The processes of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Supervisor,
    Keeper,
    Server,
}

use Part::{Keeper, Server, Supervisor};

/// A mount without a working server: the processes around it, and those that wait for it.
struct Waiting {
    /// The number of the connection in `/sys/fs/fuse/connections`.
    connection: u64,
    supervisor: Pid,
    keeper: Pid,
    server: Pid,
    askers: Vec<(&'static str, Child)>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for (_, asker) in &mut self.askers {
            let _ = asker.kill();
        }
        if std::thread::panicking() {
            // Or the test leaves a machine behind that hangs.
            let script =
                format!("mount -t fusectl none /proc && echo 1 > /proc/{}/abort", self.connection);
            let _ = Command::new("unshare").args(["-m", "sh", "-c", &script]).status();
        }
        for (_, asker) in &mut self.askers {
            let _ = asker.wait();
        }
    }
}

impl Unserved {
    fn start() -> Self {
        let options = Options { tiers: Some("ssd"), ..Options::default() };
        let instance = Instance::start(&options);
        instance.ok(&["env", "add", "small", "six"]);
        fs::write(instance.scratch().join("requirements.txt"), "six\n").unwrap();
        let requirements = instance.scratch().join("requirements.txt");
        let code = "import six\ndef handler(event): return event\n";
        instance.deploy("f", code, &["-r", requirements.to_str().unwrap()]);
        assert_eq!(instance.invoke("f", &json!(1))["result"], 1);
        Self { instance }
    }

    /// Restarts the instance, stops the server, and asks in every way.
    fn wait(&self) -> Waiting {
        let instance = &self.instance;
        instance.ok(&["down"]);
        instance.up();
        let mount = instance.mount();
        let device = fs::metadata(&mount).unwrap().dev();
        let connection = nix::sys::stat::minor(device);
        let view = mount.join("envs/small");
        let module = view.join("lib/python3.11/site-packages/six.py");
        let link = view.join("bin/python");
        let server = server(instance);
        let supervisor = instance.status()["pid"].as_i64().unwrap();
        let supervisor = Pid::from_raw(i32::try_from(supervisor).unwrap());
        let keeper = parent(server);
        // Nothing is known but the names, so that it is not them that are asked for.
        let caches = dropped_caches();
        fs::symlink_metadata(&module).unwrap();
        fs::symlink_metadata(&link).unwrap();
        kill(server, Signal::SIGSTOP).unwrap();
        let mut thief = Command::new("python3");
        thief.args(["-c", THIEF, &server.to_string()]).stdout(Stdio::piped());
        let mut thief = thief.spawn().unwrap();
        let mut said = BufReader::new(thief.stdout.take().unwrap()).lines();
        assert_eq!(said.next().unwrap().unwrap(), "ready");
        let python = |code: &str, path: &Path| {
            let mut command = Command::new("python3");
            command.args(["-c", code]).arg(path);
            command
        };
        let of = |program: &str, arguments: &[&str], path: &Path| {
            let mut command = Command::new(program);
            command.args(arguments).arg(path);
            command
        };
        let folder = instance.scratch().join("overlay");
        fs::create_dir_all(&folder).unwrap();
        let layers = format!("lowerdir={}:{}", view.display(), mount.join(".empty").display());
        let overlay = ["-m", "mount", "-t", "overlay", "none", "-o", &layers];
        let mut invocation = instance.command();
        invocation.args(["invoke", "f", "-d", "2"]);
        let commands = [
            ("overlay", of("unshare", &overlay, &folder)),
            ("statfs", of("stat", &["-f"], &mount)),
            ("listing", of("ls", &[], &mount.join("envs"))),
            ("lookup", of("stat", &[], &mount.join("dists"))),
            ("readlink", of("readlink", &[], &link)),
            ("map", python(MAP, &module)),
            ("exec", of("sh", &["-c", "\"$0\" -S -c pass"], &link)),
            ("supervisor", invocation),
        ];
        let askers = commands.map(|(way, mut command)| {
            let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
            (way, quiet.spawn().unwrap())
        });
        let askers = askers.into_iter().collect();
        let waiting = Waiting { connection, supervisor, keeper, server, askers };
        // Several of them, each of another process.
        for _ in 0..4 {
            assert_eq!(said.next().unwrap().unwrap(), "stolen");
        }
        thief.kill().unwrap();
        thief.wait().unwrap();
        drop(caches);
        waiting
    }
}

impl Waiting {
    fn kill(&self, part: Part) {
        let process = match part {
            Supervisor => self.supervisor,
            Keeper => self.keeper,
            Server => self.server,
        };
        // Another's death may have been its own.
        let _ = kill(process, Signal::SIGKILL);
    }

    /// The outcome of each asker; all of them must end.
    fn ends(&mut self) -> Vec<(&'static str, bool)> {
        // A server that answers nothing is waited for some seconds; what hangs, hangs for ever.
        let until = Instant::now() + patience(30);
        let mut ends = Vec::new();
        for (way, asker) in &mut self.askers {
            let ended = await_end(asker, until);
            ends.push((*way, ended.unwrap_or_else(|| panic!("{way} waits for ever")).success()));
        }
        ends
    }

    /// Checks that no process waits any more, and that `sync`, which visits all file systems, ends.
    fn assert_free(&mut self) {
        self.ends();
        for part in [self.supervisor, self.keeper, self.server] {
            eventually(&format!("nothing of process {part} waits"), || !is_stuck(part));
        }
        let mut sync = Command::new("sync").spawn().unwrap();
        // A disk may have much to do; what hangs, hangs for ever.
        let until = Instant::now() + patience(120);
        let ended = await_end(&mut sync, until);
        assert!(ended.is_some(), "sync hangs");
    }
}

fn await_end(child: &mut Child, until: Instant) -> Option<std::process::ExitStatus> {
    loop {
        let ended = child.try_wait().unwrap();
        if ended.is_some() || Instant::now() > until {
            return ended;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn parent(process: Pid) -> Pid {
    Pid::from_raw(Process::of(process.as_raw()).unwrap().parent)
}

/// True if a process has a thread that cannot be killed.
fn is_stuck(process: Pid) -> bool {
    let process = Process::of(process.as_raw());
    process.is_some_and(|process| process.threads().iter().any(|thread| thread.state == 'D'))
}

fn has_ended(process: Pid) -> bool {
    Process::of(process.as_raw()).is_none_or(|process| process.state == 'Z')
}

fn all_succeed(ends: &[(&'static str, bool)]) {
    assert!(ends.iter().all(|(_, success)| *success), "{ends:?}");
}

fn a_server_that_answers_nothing_is_replaced() {
    let unserved = Unserved::start();
    // By its keeper, which looks after it, or because it has died.
    for is_killed in [false, true] {
        let mut waiting = unserved.wait();
        if is_killed {
            waiting.kill(Server);
        }
        let until = Instant::now() + patience(30);
        while !has_ended(waiting.server) {
            assert!(Instant::now() < until, "it is not replaced");
            std::thread::sleep(Duration::from_millis(20));
        }
        all_succeed(&waiting.ends());
        waiting.assert_free();
        assert_eq!(unserved.instance.status()["mount"]["successions"], 1);
    }
}

fn down_ends_what_is_asked() {
    let unserved = Unserved::start();
    let mut waiting = unserved.wait();
    unserved.instance.ok(&["down"]);
    waiting.assert_free();
    unserved.instance.up();
    assert_eq!(unserved.instance.invoke("f", &json!(3))["result"], 3);
}

fn deaths_in_every_order_leave_the_machine_free() {
    let unserved = Unserved::start();
    let orders: [&[Part]; 8] = [
        &[Supervisor],
        &[Keeper],
        &[Supervisor, Keeper, Server],
        &[Supervisor, Server, Keeper],
        &[Keeper, Supervisor, Server],
        &[Keeper, Server, Supervisor],
        &[Server, Supervisor, Keeper],
        &[Server, Keeper, Supervisor],
    ];
    for order in orders {
        let mut waiting = unserved.wait();
        for part in order {
            waiting.kill(*part);
        }
        eventually(&format!("the supervisor has ended after {order:?}"), || {
            has_ended(waiting.supervisor) && !is_stuck(waiting.supervisor)
        });
        unserved.instance.up();
        waiting.assert_free();
        assert_eq!(unserved.instance.invoke("f", &json!(3))["result"], 3, "{order:?}");
    }
}

/// Descriptors of `/dev/fuse` that a process has.
fn connections(process: i32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    targets.filter(|target| target == Path::new("/dev/fuse")).count()
}

fn only_keeper_and_server_have_the_connection() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "small", "six"]);
    instance.deploy("f", "import six\ndef handler(event): return event\n", &["--env", "small"]);
    instance.invoke("f", &json!(1));
    instance.await_zygotes();
    let check = || {
        let server = server(&instance);
        let mut expected = vec![server.as_raw(), parent(server).as_raw()];
        expected.sort_unstable();
        let mut found = instance.footprint().processes;
        found.retain(|process| connections(*process) > 0);
        found.sort_unstable();
        assert_eq!(found, expected);
    };
    check();
    kill(server(&instance), Signal::SIGKILL).unwrap();
    eventually("a successor serves", || instance.status()["mount"]["successions"] == 1);
    check();
    instance.ok(&["upgrade"]);
    check();
}

/// The process that reads ahead for the server.
fn prefetcher(server: Pid) -> Option<Pid> {
    let threads = fs::read_dir(format!("/proc/{server}/task")).unwrap().flatten();
    let children =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut children = children.flat_map(|list| {
        list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>()
    });
    children.next().map(Pid::from_raw)
}

fn a_killed_prefetcher_is_replaced() {
    let instance = Instance::start(&Options::default());
    let server = server(&instance);
    for _ in 0..3 {
        let mut found = None;
        eventually("one is there", || {
            found = prefetcher(server);
            found.is_some_and(|process| !has_ended(process))
        });
        let killed = found.unwrap();
        kill(killed, Signal::SIGKILL).unwrap();
        // Not even its number is left.
        eventually("it is gone", || !Path::new(&format!("/proc/{killed}")).exists());
    }
    assert_eq!(instance.status()["mount"]["successions"], 0);
}
