//! Podman: by device, by bind, with and without root.

use super::engine::Podman;
use super::{docker_args, environment, instance, podman};
use crate::tests;

tests!(
    a_device_gives_an_environment,
    the_printed_arguments_give_an_environment,
    a_user_without_privileges_has_both,
    devices_follow_the_environments,
);

const CODE: &str = "import six; print(six.__file__)";
const PRINTED: &str = "/pipsqueak/env/lib/python3.11/site-packages/six.py\n";

fn run_device(podman: &Podman, environment: &str) -> String {
    let device = format!("pipsqueak.dev/env={environment}");
    podman.run(&["--device", &device], &["python3", "-c", CODE])
}

fn a_device_gives_an_environment() {
    let instance = instance(&["six"]);
    assert_eq!(run_device(&podman(), &environment(&instance)), PRINTED);
}

fn the_printed_arguments_give_an_environment() {
    let instance = instance(&["six"]);
    let arguments = docker_args(&instance);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    assert_eq!(podman().run(&arguments, &["python3", "-c", CODE]), PRINTED);
}

fn a_user_without_privileges_has_both() {
    let instance = instance(&["six"]);
    let podman = Podman::rootless(65534);
    let arguments = docker_args(&instance);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    assert_eq!(podman.run(&arguments, &["python3", "-c", CODE]), PRINTED);
    assert_eq!(run_device(&podman, &environment(&instance)), PRINTED);
    // Mounts that come and go reach a container in a user namespace too.
    let container = podman.start_container(&arguments, super::SLEEP);
    instance.ok(&["down"]);
    assert_eq!(container.python("import os; print(os.listdir('/pipsqueak/env'))"), "[]\n");
    instance.up();
    assert_eq!(container.python(CODE), PRINTED);
}

fn devices_follow_the_environments() {
    let instance = instance(&["six"]);
    let names = || {
        let text = std::fs::read_to_string(instance.cdi()).unwrap();
        let description: serde_json::Value = serde_json::from_str(&text).unwrap();
        let devices = description["devices"].as_array().unwrap().clone();
        devices.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = environment(&instance);
    assert_eq!(names(), [first.as_str()]);
    let second = format!("{first}-b");
    instance.ok(&["env", "add", &second, "idna"]);
    // A name that no engine would take is left out.
    instance.ok(&["env", "add", &format!("{first}."), "idna"]);
    assert_eq!(names(), [first.clone(), second.clone()]);
    instance.ok(&["env", "rm", &second]);
    assert_eq!(names(), [first.as_str()]);
    instance.ok(&["down"]);
    assert!(!instance.cdi().exists() && !instance.docker_plugin().exists());
    instance.up();
    assert_eq!(names(), [first]);
}
