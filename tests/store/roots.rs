//! Objects that processes use through the mount stay, whichever supervisor has shown the mount.

use std::io::Write;
use std::process::Command;

use nix::sys::signal::Signal;

use super::collecting::{collect, held, sound};
use super::{python, site};
use crate::harness::{Instance, Manager, Options, drop_caches, eventually, kill_9};
use crate::tests;

tests!(
    what_was_mapped_outlives_the_supervisor,
    what_a_killed_supervisor_has_shown_stays_as_well,
    working_folders_and_open_files_stay,
    a_container_keeps_its_view_behind_symbolic_links,
);

/// Maps a file without reading it; reads it after a line on stdin, and prints its sum.
const MAPPING: &str = "
import mmap, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
mapping = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
os.close(descriptor)
print('ready', flush=True)
input()
print(sum(mapping[:]))
";

/// The library of markupsafe in an environment.
fn library(instance: &Instance, environment: &str) -> std::path::PathBuf {
    let folder = site(instance, environment).join("markupsafe");
    let mut entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.extension().is_some_and(|extension| extension == "so")).unwrap()
}

fn outlives(instance: &Instance, mut succeed: impl FnMut()) {
    instance.ok(&["env", "add", "mapped", "markupsafe"]);
    let library = library(instance, "mapped");
    let sum: u64 = std::fs::read(&library).unwrap().into_iter().map(u64::from).sum();
    let mut mapping = Command::new("python3");
    mapping.args(["-c", MAPPING]).arg(&library);
    let (mut process, mut said) = held(&mut mapping);
    // A library that runs, too.
    let mut importing = Command::new(python(instance, "mapped"));
    importing.args(["-c", "import markupsafe._speedups\nprint('ready', flush=True)\ninput()\nimport markupsafe\nprint(markupsafe.escape('<'))"]);
    let (mut user, mut told) = held(&mut importing);
    for _ in 0..2 {
        succeed();
        // What a name stood for is removed once only.
        instance.call(&["env", "rm", "mapped"]);
        let collected = collect(instance);
        assert_eq!(collected["distributions"], serde_json::json!([]), "{collected}");
        drop_caches();
    }
    process.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(said.next().expect("it was killed").unwrap(), sum.to_string());
    assert!(process.wait().unwrap().success());
    user.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(told.next().expect("it was killed").unwrap(), "&lt;");
    assert!(user.wait().unwrap().success());
    eventually("what was in use is collected", || {
        collect(instance);
        instance.json(&["store", "du", "--json"])["on_disk"] == 0
    });
    sound(instance);
}

fn what_was_mapped_outlives_the_supervisor() {
    let mut manager = Manager::new();
    let instance = Instance::start_managed(&Options::default(), &mut manager);
    let mut killed = false;
    outlives(&instance, || {
        if killed {
            manager.kill(true);
        } else {
            manager.end(Signal::SIGUSR1);
        }
        killed = true;
        manager.start(&instance);
    });
}

fn what_a_killed_supervisor_has_shown_stays_as_well() {
    let instance = Instance::start(&Options::default());
    outlives(&instance, || {
        kill_9(&instance.status()["pid"]);
        // What the killed one has started ends by itself, and not at once.
        eventually("it is up again", || instance.call(&["up"]).code == 0);
    });
}

fn working_folders_and_open_files_stay() {
    let instance = Instance::start(&Options::default());
    for (environment, package) in [("folder", "six"), ("file", "idna"), ("listed", "certifi")] {
        instance.ok(&["env", "add", environment, package]);
    }
    let mut working = Command::new("sh");
    let script = "echo ready; read line; cat six.py | wc -l";
    working.args(["-c", script]).current_dir(site(&instance, "folder"));
    let (mut working, mut worked) = held(&mut working);
    let mut reading = Command::new("python3");
    let script = "import os, sys
file = open(sys.argv[1], 'rb')
folder = os.open(sys.argv[2], os.O_PATH)
print('ready', flush=True)
input()
print(len(file.read()) > 100, open('certifi/__init__.py', opener=lambda path, flags: os.open(path, flags, dir_fd=folder)).read() != '')";
    reading.args(["-c", script]).arg(site(&instance, "file").join("idna/core.py"));
    reading.arg(site(&instance, "listed"));
    let (mut reading, mut read) = held(&mut reading);
    for environment in ["folder", "file", "listed"] {
        instance.ok(&["env", "rm", environment]);
    }
    let collected = collect(&instance);
    assert_eq!(collected["distributions"], serde_json::json!([]), "{collected}");
    drop_caches();
    for process in [&mut working, &mut reading] {
        process.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    assert!(worked.next().unwrap().unwrap().parse::<u32>().unwrap() > 100);
    assert_eq!(read.next().unwrap().unwrap(), "True True");
    assert!(working.wait().unwrap().success() && reading.wait().unwrap().success());
    eventually("what was in use is collected", || {
        collect(&instance);
        instance.json(&["store", "du", "--json"])["on_disk"] == 0
    });
    sound(&instance);
}

fn a_container_keeps_its_view_behind_symbolic_links() {
    let places = crate::harness::folder();
    let link = places.path().join("link");
    std::fs::create_dir(places.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    let at = |name: &str| link.join(name).to_str().unwrap().to_owned();
    let instance = Instance::start(&Options {
        variables: vec![
            ("PIPSQUEAK_RUN", at("run")),
            ("PIPSQUEAK_STATE", at("state")),
            ("PIPSQUEAK_MOUNT", at("packages")),
        ],
        ..Options::default()
    });
    instance.ok(&["env", "add", "bound", "six"]);
    instance.ok(&["env", "add", "mapped", "markupsafe"]);
    let arguments = instance.ok(&["env", "docker-args", "bound"]);
    let source = arguments.split(['=', ',', ' ', '\'']).find(|part| part.contains("/exports/"));
    let source = source.unwrap_or_else(|| panic!("{arguments}"));
    let place = instance.scratch().join("place");
    std::fs::create_dir(&place).unwrap();
    // What an engine does for a container.
    let script = format!(
        "mount --rbind --make-rslave {source} {place} && echo ready && read line \
         && ls {place}/env/lib/python3*/site-packages",
        place = place.display()
    );
    let mut container = Command::new("unshare");
    container.args(["--mount", "--propagation", "slave", "sh", "-c", &script]);
    let (mut container, mut listed) = held(&mut container);
    let mut importing = Command::new(places.path().join("link/packages/envs/mapped/bin/python"));
    importing.args(["-c", "import markupsafe._speedups\nprint('ready', flush=True)\ninput()\nimport markupsafe\nprint(markupsafe.escape('<'))"]);
    let (mut user, mut told) = held(&mut importing);
    for round in 0..2 {
        instance.call(&["env", "rm", "bound"]);
        instance.call(&["env", "rm", "mapped"]);
        let collected = collect(&instance);
        assert_eq!(collected["distributions"], serde_json::json!([]), "{round}: {collected}");
        assert_eq!(instance.status()["containers"]["views"].as_array().unwrap().len(), 1);
        kill_9(&instance.status()["pid"]);
        eventually("it is up again", || instance.call(&["up"]).code == 0);
    }
    for process in [&mut container, &mut user] {
        process.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    assert!(listed.any(|line| line.unwrap() == "six.py"));
    assert_eq!(told.next().unwrap().unwrap(), "&lt;");
    assert!(container.wait().unwrap().success() && user.wait().unwrap().success());
    sound(&instance);
}
