//! A supervisor that follows another at the same socket: clients that come meanwhile wait.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::succession::{another_build, programs, replace, while_importing};
use crate::harness::{Instance, Manager, Options, eventually};
use crate::tests;

tests!(
    an_upgrade_keeps_the_mount_and_loses_no_call,
    an_upgrade_to_what_does_not_run_is_refused,
    a_service_is_upgraded_by_its_manager,
    clients_wait_for_the_next_supervisor,
    a_socket_of_the_service_manager_is_used_and_left,
    a_stored_socket_that_another_has_replaced_is_not_used,
);

const ECHO: &str = "import time\ndef handler(event):\n    time.sleep(event)\n    return event\n";

fn invocation(instance: &Instance, seconds: f64) -> Child {
    let mut command = instance.command();
    command.args(["invoke", "echo", "--json", "-d", &seconds.to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn answer(invocation: Child) -> Value {
    let output = invocation.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn device(instance: &Instance) -> u64 {
    fs::metadata(instance.mount()).unwrap().dev()
}

fn an_upgrade_keeps_the_mount_and_loses_no_call() {
    let folder = crate::harness::folder();
    let programs = programs(folder.path());
    let options = Options { programs: Some(programs.clone()), ..Options::default() };
    let instance = Instance::start(&options);
    instance.ok(&["env", "add", "science", "pandas", "requests"]);
    instance.deploy("echo", ECHO, &[]);
    let (pid, mount) = (instance.status()["pid"].clone(), device(&instance));
    while_importing(&instance, || {
        for round in 1..=2 {
            for program in ["pipsqueakd", "pipsqueak-fs"].map(|name| programs.join(name)) {
                replace(&program, &another_build(&program));
            }
            let running = invocation(&instance, 0.5);
            eventually("it runs", || !is_idle(&instance));
            let told = instance.ok(&["upgrade"]);
            assert!(told.contains(&pid.to_string()), "{told}");
            assert_eq!(answer(running)["result"], 0.5, "round {round}");
            assert_eq!(answer(invocation(&instance, 0.0))["result"], 0.0, "round {round}");
            let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
            assert_eq!(executable, programs.join("pipsqueakd"));
            assert_eq!((&instance.status()["pid"], device(&instance)), (&pid, mount));
            assert_eq!(instance.status()["mount"]["successions"], 1);
        }
    });
}

/// True if no sandbox is at work.
fn is_idle(instance: &Instance) -> bool {
    let status = instance.status();
    let sandboxes = status["sandboxes"].as_array().unwrap();
    sandboxes.iter().all(|sandbox| sandbox["state"] == "paused")
}

fn an_upgrade_to_what_does_not_run_is_refused() {
    let folder = crate::harness::folder();
    let programs = programs(folder.path());
    let options = Options { programs: Some(programs.clone()), ..Options::default() };
    let instance = Instance::start(&options);
    instance.deploy("echo", ECHO, &[]);
    replace(&programs.join("pipsqueakd"), b"#!/bin/sh\necho of no use >&2\nexit 1\n");
    let refused = instance.call(&["upgrade"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("of no use"), "{refused:?}");
    assert_eq!(answer(invocation(&instance, 0.0))["result"], 0.0);
}

fn a_service_is_upgraded_by_its_manager() {
    let mut manager = Manager::new();
    let instance = Instance::start_managed(&Options::default(), &mut manager);
    let refused = instance.call(&["upgrade"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("systemctl restart"), "{refused:?}");
}

fn clients_wait_for_the_next_supervisor() {
    let mut manager = Manager::new();
    let instance = Instance::start_managed(&Options::default(), &mut manager);
    instance.deploy("echo", ECHO, &[]);
    for killed in [true, false] {
        if killed {
            manager.kill(true);
        } else {
            manager.end(Signal::SIGUSR1);
        }
        let waiting = [(); 3].map(|()| invocation(&instance, 0.0));
        manager.start(&instance);
        for one in waiting {
            assert_eq!(answer(one)["result"], 0.0, "killed: {killed}");
        }
    }
    // It is the new one that is told to stop, and waited for.
    instance.ok(&["down"]);
    assert!(manager.await_end().success());
    assert!(!instance.run().join("supervisor.sock").exists());
}

fn a_socket_of_the_service_manager_is_used_and_left() {
    let mut manager = Manager::new();
    let options = Options::default();
    let instance = Instance::start_managed(&options, &mut manager);
    instance.deploy("echo", ECHO, &[]);
    assert!(manager.end(Signal::SIGTERM).success());
    eventually("nothing is kept", || manager.keeps_nothing());
    let path = instance.run().join("supervisor.sock");
    let socket = UnixListener::bind(&path).unwrap();
    manager.plant(("supervisor".to_owned(), socket.into()));
    let waiting = invocation(&instance, 0.0);
    manager.start(&instance);
    assert_eq!(answer(waiting)["result"], 0.0);
    instance.ok(&["down"]);
    assert!(manager.await_end().success());
    // Whoever comes now waits for the next start.
    assert!(path.exists());
    let waiting = invocation(&instance, 0.0);
    manager.start(&instance);
    assert_eq!(answer(waiting)["result"], 0.0);
}

fn a_stored_socket_that_another_has_replaced_is_not_used() {
    let mut manager = Manager::new();
    let instance = Instance::start_managed(&Options::default(), &mut manager);
    instance.deploy("echo", ECHO, &[]);
    manager.kill(true);
    let path = instance.run().join("supervisor.sock");
    fs::rename(&path, instance.run().join("earlier")).unwrap();
    fs::File::create(&path).unwrap().write_all(b"of another").unwrap();
    manager.start(&instance);
    assert!(manager.has_heard("FDSTOREREMOVE=1"));
    assert_eq!(answer(invocation(&instance, 0.0))["result"], 0.0);
}
