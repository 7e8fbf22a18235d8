//! Environments that containers hold, whatever happens to the programs that ask for them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::engine::{Docker, ok};
use super::{SLEEP, docker, docker_args, environment, instance, view, views_in_use};
use crate::harness::{Instance, eventually};
use crate::tests;

tests!(
    every_way_of_having_a_view_is_seen,
    a_mounted_volume_is_held_until_it_is_unmounted,
    a_dead_engines_mount_is_held_by_its_container_alone,
    odd_questions_are_answered,
);

/// Asks the volume driver; returns the status and the answer.
fn ask(instance: &Instance, question: &str, body: &str) -> (u16, Value) {
    let text = exchange(
        instance,
        &format!(
            "POST /{question} HTTP/1.1\r\nHost: driver\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn exchange(instance: &Instance, request: &str) -> String {
    let mut stream = UnixStream::connect(instance.docker_plugin()).unwrap();
    // The answer may come, and the end of the connection, before all of a question is read.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn well(instance: &Instance, question: &str, body: &Value) -> Value {
    let (status, answer) = ask(instance, question, &body.to_string());
    assert_eq!((status, answer["Err"].as_str()), (200, Some("")), "{question}: {answer}");
    answer
}

fn every_way_of_having_a_view_is_seen() {
    let instance = instance(&["six"]);
    let first = view(&instance);
    assert_eq!(views_in_use(&instance), [""; 0]);
    let arguments = docker_args(&instance);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let exported = docker().start_container(&arguments, SLEEP);
    assert_eq!(views_in_use(&instance), [first.as_str()]);

    // A folder of the mount itself, and what its name stood for then.
    instance.ok(&["env", "add", &environment(&instance), "six", "idna"]);
    let second = view(&instance);
    let inside = instance.mount().join("envs").join(environment(&instance)).join("lib");
    let bind = format!("type=bind,source={},target=/lib64/env,readonly", inside.display());
    let plain = docker().start_container(&["--mount", &bind], SLEEP);
    instance.ok(&["env", "add", &environment(&instance), "idna"]);
    let mut both = [first.clone(), second.clone()];
    both.sort();
    assert_eq!(views_in_use(&instance), both);
    // The export stays as long as it is bound, whatever its environment's name stands for now.
    let export = instance.run().join("exports").join(&first);
    assert!(export.join("env/bin").exists());

    exported.remove();
    eventually("the bind is gone", || views_in_use(&instance) == [second.as_str()]);
    plain.remove();
    eventually("nothing is in use", || views_in_use(&instance).is_empty());
    instance.ok(&["env", "rm", &environment(&instance)]);
    assert!(!export.exists());
}

fn a_mounted_volume_is_held_until_it_is_unmounted() {
    let instance = instance(&["six"]);
    let (name, first) = (environment(&instance), view(&instance));
    assert_eq!(ask(&instance, "Plugin.Activate", "").1, json!({ "Implements": ["VolumeDriver"] }));
    let (_, capabilities) = ask(&instance, "VolumeDriver.Capabilities", "{}");
    assert_eq!(capabilities, json!({ "Capabilities": { "Scope": "local" } }));
    let volume = json!({ "Name": "v", "Opts": { "env": name } });
    // Made twice, as an engine does that has lost an answer.
    well(&instance, "VolumeDriver.Create", &volume);
    well(&instance, "VolumeDriver.Create", &volume);
    let mount = |id: &str| json!({ "Name": "v", "ID": id });
    let place = well(&instance, "VolumeDriver.Mount", &mount("1"))["Mountpoint"].clone();
    assert!(Path::new(place.as_str().unwrap()).join("env/bin").exists());
    well(&instance, "VolumeDriver.Mount", &mount("2"));
    well(&instance, "VolumeDriver.Mount", &mount("2"));
    assert_eq!(well(&instance, "VolumeDriver.Path", &volume)["Mountpoint"], place);
    // This test is the engine, and lives: nothing else has to be seen anywhere.
    instance.ok(&["env", "rm", &name]);
    assert_eq!(views_in_use(&instance), [first.as_str()]);
    instance.ok(&["down"]);
    instance.up();
    assert_eq!(views_in_use(&instance), [first.as_str()]);
    let listed = well(&instance, "VolumeDriver.List", &json!({}));
    assert_eq!(listed["Volumes"][0]["Mountpoint"], place);
    well(&instance, "VolumeDriver.Unmount", &mount("1"));
    assert_eq!(views_in_use(&instance), [first]);
    let (status, answer) = ask(&instance, "VolumeDriver.Remove", &volume.to_string());
    assert_eq!(status, 500);
    assert!(answer["Err"].as_str().unwrap().contains("volume v is mounted"), "{answer}");
    well(&instance, "VolumeDriver.Unmount", &mount("2"));
    well(&instance, "VolumeDriver.Unmount", &mount("2"));
    assert!(views_in_use(&instance).is_empty());
    well(&instance, "VolumeDriver.Remove", &volume);
    assert_eq!(ask(&instance, "VolumeDriver.Get", &volume.to_string()).0, 500);
}

fn a_dead_engines_mount_is_held_by_its_container_alone() {
    let instance = instance(&["six"]);
    let docker = Docker::start();
    let (name, first) = (environment(&instance), view(&instance));
    let volume = ["--volume-driver", instance.driver(), "--volume", &format!("{name}:/pipsqueak")];
    let container = docker.start_container(&volume, SLEEP);
    let pid = container.pid();
    instance.ok(&["env", "rm", &name]);
    assert_eq!(views_in_use(&instance), [first.as_str()]);
    docker.kill_daemon();
    assert_eq!(views_in_use(&instance), [first.as_str()], "its container lives");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("its container has ended", || views_in_use(&instance).is_empty());
    docker.restart_daemon();
    container.remove();
    ok(docker.command().args(["volume", "rm", &name]));

    // One that ends between its question and the mount is believed at first, and not for ever.
    instance.ok(&["env", "add", &name, "six"]);
    well(&instance, "VolumeDriver.Create", &json!({ "Name": name }));
    let question = json!({ "Name": name, "ID": "1" }).to_string();
    let client = "import http.client, socket, sys; c = http.client.HTTPConnection('driver'); \
                  c.sock = socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1]); \
                  c.request('POST', '/VolumeDriver.Mount', sys.argv[2]); \
                  assert c.getresponse().status == 200";
    let mut engine = Command::new("python3");
    engine.args(["-c", client]).arg(instance.docker_plugin()).arg(question).stdin(Stdio::null());
    ok(&mut engine);
    assert_eq!(views_in_use(&instance), [first]);
    eventually("it is believed no more", || views_in_use(&instance).is_empty());
}

fn odd_questions_are_answered() {
    let instance = instance(&["six"]);
    let refused = |question: &str, body: &str, status: u16, part: &str| {
        let (found, answer) = ask(&instance, question, body);
        let told = answer["Err"].as_str().unwrap();
        assert!(found == status && told.contains(part), "{question} {body}: {found} {told}");
    };
    refused("VolumeDriver.Create", "{", 400, "unreadable question");
    refused("VolumeDriver.Create", "[1]", 400, "unreadable question");
    refused("VolumeDriver.Create", &"x".repeat(2 << 20), 400, "unreadable question");
    refused("VolumeDriver.Paint", "{}", 404, "/VolumeDriver.Paint is not known");
    refused("VolumeDriver.Mount", r#"{"Name": "v", "ID": "1"}"#, 500, "there is no volume v");
    refused("VolumeDriver.Create", r#"{"Name": "../v"}"#, 500, "there is no environment ../v");
    let got = exchange(
        &instance,
        "GET /Plugin.Activate HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n",
    );
    assert!(got.starts_with("HTTP/1.1 405 "), "{got}");
    assert!(exchange(&instance, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
    // One that says nothing, or half of something, keeps nobody else waiting.
    let mut half = UnixStream::connect(instance.docker_plugin()).unwrap();
    half.write_all(b"POST /VolumeDriver.List HTTP/1.1\r\nContent-Length: 9\r\n\r\n{").unwrap();
    well(&instance, "VolumeDriver.List", &json!({}));
}
