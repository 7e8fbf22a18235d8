//! State that the kernel keeps by file, such as locks: no tenant sees another's or the host's.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::Attacked;
use crate::harness::patience;
use crate::tests;

tests!(
    locks_of_the_systems_files_meet_nobody_elses,
    what_others_open_of_the_system_is_not_seen,
    what_changes_on_the_host_is_seen_by_who_runs,
);

const INODES: &str = include_str!("inodes.py");

/// The code of the functions, run by the host until this is dropped.
struct OfHost(Child, Value);

impl OfHost {
    fn run(attacked: &Attacked, event: &Value) -> Self {
        let script = attacked.instance.scratch().join("inodes.py");
        std::fs::write(&script, INODES).unwrap();
        let mut command = Command::new("python3");
        command.arg(script).arg(event.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        Self(child, serde_json::from_str(&said).unwrap())
    }
}

impl Drop for OfHost {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Functions that must not see what function `first` does.
const OTHERS: [(&str, &[&str]); 3] = [
    ("of-nobody", &[]),
    ("of-another-tenant", &["--tenant", "other"]),
    ("in-another-network", &["--tenant", "first", "--network", "host"]),
];

fn deployed() -> Attacked {
    let attacked = Attacked::start();
    let timeout = patience(20).as_secs().to_string();
    for (name, options) in OTHERS.into_iter().chain([("first", &["--tenant", "first"][..])]) {
        let options = [options, &["--timeout", &timeout]].concat();
        attacked.instance.deploy(name, INODES, &options);
    }
    attacked
}

fn ask(attacked: &Attacked, name: &str, event: &Value) -> Value {
    let answer = attacked.instance.invoke(name, event);
    assert_eq!(answer["outcome"], "done", "{name}: {answer}");
    answer["result"].clone()
}

fn locks_of_the_systems_files_meet_nobody_elses() {
    let attacked = deployed();
    let ask = |name: &str, event: &Value| ask(&attacked, name, event);
    // Frozen when it has answered, with all of them.
    assert!(ask("first", &json!(["lock"])).as_u64().unwrap() > 15);
    assert_eq!(OfHost::run(&attacked, &json!(["meets"])).1, json!([]));
    for (name, _) in OTHERS {
        assert_eq!(ask(name, &json!(["meets"])), json!([]), "{name}");
    }
    let of_host = OfHost::run(&attacked, &json!(["lock"]));
    for (name, _) in OTHERS {
        assert_eq!(ask(name, &json!(["meets"])), json!([]), "{name} and the host");
        assert_eq!(ask(name, &json!(["lease"])), json!([]), "{name}");
    }
    drop(of_host);
    attacked.serves_others();
}

fn what_others_open_of_the_system_is_not_seen() {
    let attacked = deployed();
    for (name, _) in OTHERS {
        ask(&attacked, name, &json!(["use"]));
    }
    let seen = std::thread::scope(|scope| {
        let watching = scope.spawn(|| ask(&attacked, "first", &json!(["watch", 6])));
        while !watching.is_finished() {
            OfHost::run(&attacked, &json!(["use"]));
            for (name, _) in OTHERS {
                ask(&attacked, name, &json!(["use"]));
            }
        }
        watching.join().unwrap()
    });
    assert_eq!(seen, json!([]));
    attacked.serves_others();
}

/// A file on the host, removed when this is dropped.
struct Installed(std::path::PathBuf);

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn what_changes_on_the_host_is_seen_by_who_runs() {
    let attacked = Attacked::start();
    let name = format!("pipsqueak-installed-{}", std::process::id());
    let installed = Installed(std::path::Path::new("/usr/local/bin").join(&name));
    let code = "
import os, shutil
def handler(name):
    path = shutil.which(name, path='/usr/local/bin')
    return path and open(path).read()
";
    attacked.instance.deploy("looks", code, &[]);
    let ask = || ask(&attacked, "looks", &json!(name));
    assert_eq!(ask(), Value::Null);
    for content in ["installed", "upgraded"] {
        // As packages are: another file takes the name.
        let new = installed.0.with_extension("new");
        std::fs::write(&new, content).unwrap();
        std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        std::fs::rename(&new, &installed.0).unwrap();
        let until = std::time::Instant::now() + patience(20);
        while ask() != content {
            assert!(std::time::Instant::now() < until, "{content}: {}", ask());
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    drop(installed);
    attacked.serves_others();
}
