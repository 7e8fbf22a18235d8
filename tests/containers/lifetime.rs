//! Running containers while the processes that serve them end.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::engine::{Container, ok};
use super::{
    SLEEP, docker, docker_args, environment, instance, managed_instance, podman, views_in_use,
};
use crate::harness::{Instance, Manager, drop_caches, eventually, has_ended};
use crate::tests;

tests!(
    imports_go_on_over_the_death_of_the_mounts_server,
    running_containers_get_back_what_they_had,
    a_killed_supervisor_leaves_containers_served,
    containers_wait_for_the_next_supervisor_of_a_service,
    a_second_instance_takes_nothing_from_the_first,
);

// With the path in it: what a device brings to a container's own program, Podman does not bring to
// those that are executed in it later.
const IMPORT: &str = "import sys; sys.path.insert(0, '/pipsqueak/env/lib/python3.11/site-packages')
import six, importlib.util; print(six.__version__ > '1', importlib.util.find_spec('idna') is None)";
const IMPORTED: &str = "True True\n";

fn kill_9(pid: &Value) {
    let pid = i32::try_from(pid.as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// Containers of one instance, one for each way to get an environment.
fn one_of_each(instance: &Instance) -> [(&'static str, Container); 3] {
    let arguments = docker_args(instance);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let name = environment(instance);
    let volume = [
        "--volume-driver",
        instance.driver(),
        "--volume",
        &format!("{name}:/pipsqueak"),
        "--env",
        "PYTHONPATH=/pipsqueak/env/lib/python3.11/site-packages",
    ];
    let device = format!("pipsqueak.dev/env={name}");
    [
        ("bind", docker().start_container(&arguments, SLEEP)),
        ("volume", docker().start_container(&volume, SLEEP)),
        ("device", podman().start_container(&["--device", &device], SLEEP)),
    ]
}

fn remove(instance: &Instance, containers: [(&'static str, Container); 3]) {
    drop(containers);
    // Made by the engine for the container, and not removed with it.
    ok(docker().command().args(["volume", "rm", &environment(instance)]));
}

fn imports_go_on_over_the_death_of_the_mounts_server() {
    let instance = instance(&["numpy"]);
    let arguments = docker_args(&instance);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let container = docker().start_container(&arguments, SLEEP);
    for round in 1..=3 {
        drop_caches();
        let mut import = container.exec("import numpy; print(numpy.arange(4).sum())");
        let import = import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100 * round));
        kill_9(&instance.status()["mount"]["pid"]);
        let output = import.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "6\n", "{output:?}");
        eventually("a successor serves", || instance.status()["mount"]["successions"] == round);
    }
}

fn running_containers_get_back_what_they_had() {
    let instance = instance(&["six"]);
    let containers = one_of_each(&instance);
    // What the name stands for from now on is for others.
    instance.ok(&["env", "add", &environment(&instance), "six", "idna"]);
    for (way, container) in &containers {
        assert_eq!(container.python(IMPORT), IMPORTED, "{way}");
    }
    for round in 0..2 {
        instance.ok(&["down"]);
        for (way, container) in &containers {
            let found = container.python("import os; print(os.listdir('/pipsqueak/env'))");
            assert_eq!(found, "[]\n", "{way}, round {round}");
        }
        instance.up();
        for (way, container) in &containers {
            assert_eq!(container.python(IMPORT), IMPORTED, "{way}, round {round}");
        }
    }
    let arguments = docker_args(&instance);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    assert_eq!(docker().run(&arguments, &["python3", "-c", IMPORT]), "True False\n");
    remove(&instance, containers);
}

fn a_killed_supervisor_leaves_containers_served() {
    let instance = instance(&["six"]);
    let containers = one_of_each(&instance);
    let server = instance.status()["mount"]["pid"].clone();
    kill_9(&instance.status()["pid"]);
    eventually("the supervisor is gone", || instance.call(&["status"]).code == 3);
    for (way, container) in &containers {
        assert_eq!(container.python(IMPORT), IMPORTED, "{way}, by the one who is left");
    }
    instance.up();
    for (way, container) in &containers {
        assert_eq!(container.python(IMPORT), IMPORTED, "{way}, by the next");
    }
    let server = i32::try_from(server.as_i64().unwrap()).unwrap();
    eventually("the one who was left is gone", || has_ended(server));
    remove(&instance, containers);
}

fn containers_wait_for_the_next_supervisor_of_a_service() {
    let mut manager = Manager::new();
    let instance = managed_instance(&["six"], &mut manager);
    let containers = one_of_each(&instance);
    let code = "from os import stat; root = '/pipsqueak/env'; \
        print(stat(root).st_ino, stat(f'{root}/pyvenv.cfg').st_ino)";
    let inodes = || containers.each_ref().map(|(_, container)| container.python(code));
    let before = inodes();
    let device = fs::metadata(instance.mount()).unwrap().dev();
    // What the name stands for from now on is for others.
    instance.ok(&["env", "add", &environment(&instance), "six", "idna"]);
    for how in [None, Some(Signal::SIGUSR1), None] {
        drop_caches();
        match how {
            None => manager.kill(true),
            Some(signal) => assert!(manager.end(signal).success()),
        }
        let imports = containers.each_ref().map(|(_, container)| {
            let mut import = container.exec(IMPORT);
            import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        manager.start(&instance);
        for import in imports {
            let output = import.wait_with_output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), IMPORTED, "{output:?}");
        }
        // Not only the same content: the same files of the same mount.
        assert_eq!(inodes(), before);
        assert_eq!(fs::metadata(instance.mount()).unwrap().dev(), device);
    }
    assert_eq!(views_in_use(&instance).len(), 1);
    remove(&instance, containers);
}

fn a_second_instance_takes_nothing_from_the_first() {
    let first = instance(&["six"]);
    let second = Instance::start(&crate::harness::Options::default());
    second.ok(&["down"]);
    let up = ["up", "--docker-plugin"];
    let (socket, devices) = (first.docker_plugin(), first.cdi());
    let (socket, devices) = (socket.to_str().unwrap(), devices.to_str().unwrap());
    second.ok(&[&up, &[socket, "--cdi", devices][..]].concat());
    let places = |instance: &Instance| {
        let containers = instance.status()["containers"].clone();
        (containers["docker_plugin"].clone(), containers["cdi"].clone())
    };
    assert_eq!(places(&first), (socket.into(), devices.into()));
    assert_eq!(places(&second), (Value::Null, Value::Null));
    second.ok(&["env", "add", "other", "idna"]);
    second.ok(&["down"]);
    let described = fs::read_to_string(devices).unwrap();
    assert!(described.contains(&environment(&first)) && !described.contains("other"));
    let name = environment(&first);
    let volume = ["--volume-driver", first.driver(), "--volume", &format!("{name}:/pipsqueak")];
    let code = "import os; print(os.listdir('/pipsqueak'))";
    assert_eq!(docker().run(&volume, &["python3", "-c", code]), "['env']\n");
    ok(docker().command().args(["volume", "rm", &name]));
}
