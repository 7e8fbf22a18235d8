//! The mount's server is killed and replaced, again and again, while it is in use.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Instance, Options, binary, command_on_mount, drop_caches, eventually};
use crate::tests;

tests!(
    imports_survive_a_few_deaths,
    imports_survive_an_upgrade,
    imports_wait_out_a_broken_upgrade;
    long imports_survive_a_hundred_deaths, imports_wait_out_many_broken_upgrades,
);

/// Processes that import at any moment.
const IMPORTERS: usize = 8;

/// Holds each kind of reference to a mount: a folder, an open file, mapped memory, and a file that
/// is opened anew. Tells for each line whether all of them are still right.
const HOLDER: &str = "
import hashlib, mmap, os, sys

site = sys.argv[1]
folder = os.open(os.path.join(site, 'pandas'), os.O_RDONLY)
source = open(os.path.join(site, 'pandas/core/frame.py'), 'rb')
libraries = os.path.join(site, 'pandas/_libs')
library = max((os.path.join(libraries, n) for n in os.listdir(libraries) if n.endswith('.so')),
              key=os.path.getsize)
mapped = mmap.mmap(os.open(library, os.O_RDONLY), 0, prot=mmap.PROT_READ)

def look():
    source.seek(0)
    return (
        sorted(os.listdir(folder)),
        hashlib.sha256(source.read()).digest(),
        hashlib.sha256(mapped).digest(),
        hashlib.sha256(open(library, 'rb').read()).digest(),
        os.fstat(source.fileno()),
    )

first = look()
print('ready', flush=True)
for _ in sys.stdin:
    print('right' if look() == first else 'wrong', flush=True)
";

pub(super) struct Holder {
    child: Child,
    asked: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Holder {
    pub(super) fn start(python: &Path, site: &Path) -> Self {
        let mut child = command_on_mount(python)
            .args(["-S", "-c", HOLDER])
            .arg(site)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asked = child.stdin.take().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        let mut holder = Self { child, asked, told };
        assert_eq!(holder.hear(), "ready\n");
        holder
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        line
    }

    pub(super) fn check(&mut self) {
        self.asked.write_all(b"\n").unwrap();
        assert_eq!(self.hear(), "right\n");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Imports as long as `disturb` runs; returns the number of imports, none of which may fail.
pub(super) fn while_importing(instance: &Instance, disturb: impl FnOnce()) -> usize {
    let python = instance.mount().join("envs/science/bin/python");
    let (over, imports) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let importers: Vec<_> = (0..IMPORTERS)
            .map(|number| {
                let (python, over, imports) = (&python, &over, &imports);
                let code = if number % 4 == 0 {
                    "import pandas; print(pandas.Series([1, 2]).sum())"
                } else {
                    "import requests; print(len(requests.__name__) - 5)"
                };
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let output = command_on_mount(python).args(["-c", code]).output().unwrap();
                        assert_eq!(String::from_utf8_lossy(&output.stdout), "3\n", "{output:?}");
                        imports.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        // Told to end whatever happens, or the scope would wait for ever.
        let disturbed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(disturb));
        over.store(true, Ordering::Relaxed);
        let imported: Vec<_> = importers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        for ended in imported.into_iter().chain([disturbed]) {
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    imports.into_inner()
}

pub(super) fn server(instance: &Instance) -> Pid {
    let mut pid = None;
    eventually("a server is there", || {
        pid = instance.status()["mount"]["pid"].as_i64();
        pid.is_some()
    });
    Pid::from_raw(i32::try_from(pid.unwrap()).unwrap())
}

fn successions(instance: &Instance) -> u64 {
    instance.status()["mount"]["successions"].as_u64().unwrap()
}

fn die_again_and_again(rounds: u64) {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "science", "pandas", "requests"]);
    let view = instance.mount().join("envs/science");
    let site = view.join("lib/python3.11/site-packages");
    let mut holder = Holder::start(&view.join("bin/python"), &site);
    let names = || {
        let entries = std::fs::read_dir(&site).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let imports = while_importing(&instance, || {
        for round in 1..=rounds {
            if round % 2 == 0 {
                drop_caches();
            }
            // At another moment of the imports each time.
            thread::sleep(Duration::from_millis(round * 37 % 250));
            kill(server(&instance), Signal::SIGKILL).unwrap();
            eventually("a successor serves", || successions(&instance) == round);
        }
    });
    assert!(imports >= IMPORTERS, "only {imports} imports");
    drop_caches();
    assert_eq!(names(), before);
    holder.check();
    assert_eq!(instance.status()["mount"]["requests"]["panic"], 0);
}

fn imports_survive_a_few_deaths() {
    die_again_and_again(4);
}

fn imports_survive_a_hundred_deaths() {
    die_again_and_again(100);
}

/// Copies the programs and their needs into a folder, so that one of them can be replaced.
pub(super) fn programs(folder: &Path) -> PathBuf {
    let programs = folder.join("programs");
    std::fs::create_dir(&programs).unwrap();
    for name in [
        "pipsqueak",
        "pipsqueakd",
        "pipsqueak-fs",
        "libpipsqueak_native.so",
        "libpipsqueak_getenv.so",
    ] {
        let copied = Command::new("cp").arg(binary(name)).arg(&programs).status().unwrap();
        assert!(copied.success());
    }
    programs
}

/// Replaces a program by rename, as a package manager does.
pub(super) fn replace(program: &Path, content: &[u8]) {
    let (written, new) = (program.with_extension("written"), program.with_extension("new"));
    std::fs::write(&written, content).unwrap();
    // Copied by another process: one that this one forks meanwhile, for another test, would have the file
    // open for writing until it executes something, and until then nobody could execute that.
    assert!(Command::new("cp").arg(&written).arg(&new).status().unwrap().success());
    std::fs::remove_file(&written).unwrap();
    std::fs::set_permissions(&new, std::fs::metadata(program).unwrap().permissions()).unwrap();
    std::fs::rename(&new, program).unwrap();
}

/// The bytes of `pipsqueak-fs` as of another build.
pub(super) fn another_build(program: &Path) -> Vec<u8> {
    let mut content = std::fs::read(program).unwrap();
    // Behind what an executable describes of itself.
    content.extend(b"another build");
    content
}

fn imports_survive_an_upgrade() {
    let folder = crate::harness::folder();
    let programs = programs(folder.path());
    let fs = programs.join("pipsqueak-fs");
    let options = Options { programs: Some(programs), ..Options::default() };
    let instance = Instance::start(&options);
    instance.ok(&["env", "add", "science", "pandas", "requests"]);
    while_importing(&instance, || {
        for round in 1..=2 {
            drop_caches();
            replace(&fs, &another_build(&fs));
            // Nothing but its end lets the old one go.
            kill(server(&instance), Signal::SIGTERM).unwrap();
            eventually("the new one serves", || successions(&instance) == round);
            let running = format!("/proc/{}/exe", server(&instance));
            assert!(std::fs::read(running).unwrap() == std::fs::read(&fs).unwrap());
        }
    });
}

fn wait_out_broken_upgrades(rounds: u64) {
    const TRIED: &str = "starting a successor of pipsqueak-fs";
    let folder = crate::harness::folder();
    let programs = programs(folder.path());
    let fs = programs.join("pipsqueak-fs");
    let options = Options { programs: Some(programs), ..Options::default() };
    let instance = Instance::start(&options);
    instance.ok(&["env", "add", "science", "pandas", "requests"]);
    let sound = std::fs::read(&fs).unwrap();
    let log = instance.run().join("pipsqueakd.log");
    let tries = || std::fs::read_to_string(&log).unwrap().matches(TRIED).count();
    while_importing(&instance, || {
        for round in 1..=rounds {
            drop_caches();
            thread::sleep(Duration::from_millis((round - 1) * 37 % 250));
            let before = tries();
            replace(&fs, b"#!/bin/sh\nexit 1\n");
            kill(server(&instance), Signal::SIGKILL).unwrap();
            eventually("the broken one was tried", || tries() > before);
            replace(&fs, &sound);
            eventually("a sound one serves", || successions(&instance) == round);
        }
    });
}

fn imports_wait_out_a_broken_upgrade() {
    wait_out_broken_upgrades(1);
}

fn imports_wait_out_many_broken_upgrades() {
    wait_out_broken_upgrades(100);
}
