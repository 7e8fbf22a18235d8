//! Interpreters behind links: to their folder, above it, to the executable alone.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Instance, Options, folder, interpreters};
use crate::tests;

tests!(
    an_interpreter_behind_links_is_the_one_that_they_lead_to,
    an_interpreter_may_be_on_mounts_of_its_own,
);

/// Prints what an interpreter says of itself.
const ASKED: &str = "
import json, os, sys

def handler(event):
    import ctypes, ssl, six
    return {
        'prefix': sys.prefix,
        'base_prefix': sys.base_prefix,
        'executable': os.path.realpath(sys.executable),
        'library': os.path.realpath(os.path.dirname(os.__file__)),
    }
";

/// Folders of interpreters of some versions; of any version if those are missing.
fn prefixes() -> Vec<PathBuf> {
    let all = interpreters();
    let some = [9, 11, 13].iter().filter_map(|minor| all.get(minor).cloned()).collect::<Vec<_>>();
    if some.is_empty() { all.into_values().collect() } else { some }
}

/// A folder for links at a place that sandboxes use for nothing else.
fn links(parent: &str) -> TempDir {
    tempfile::Builder::new().prefix("pipsqueak-test-").tempdir_in(parent).unwrap()
}

/// The output of a Python on the host for some code.
fn plain(python: &Path, then: &str) -> Value {
    let code = format!("{ASKED}\nprint(json.dumps({then}))");
    let output = Command::new(python).args(["-c", &code]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn an_interpreter_behind_links_is_the_one_that_they_lead_to() {
    let instance = Instance::start(&Options::default());
    let (folder, system) = (links("/var/tmp"), links("/usr/local"));
    for (number, prefix) in prefixes().iter().enumerate() {
        let at = |name: &str| folder.path().join(format!("{name}-{number}"));
        let name = prefix.file_name().unwrap();
        symlink(prefix, at("current")).unwrap();
        symlink(at("current").file_name().unwrap(), at("again")).unwrap();
        symlink(prefix.parent().unwrap(), at("middle")).unwrap();
        std::fs::create_dir(at("bin")).unwrap();
        symlink(prefix.join("bin/python3"), at("bin").join("python")).unwrap();
        // Whose next link no sandbox has, and which cannot be mounted on.
        let below = system.path().join(format!("python-{number}"));
        symlink(at("again"), &below).unwrap();
        let middle = at("middle").join(name);
        for (kind, base) in [
            ("real", prefix),
            ("folder", &at("current")),
            ("relative", &at("again")),
            ("middle", &middle),
            ("system", &below),
            ("alone", &at("bin")),
        ] {
            let python = match kind {
                "alone" => base.join("python"),
                _ => base.join("bin/python3"),
            };
            let environment = format!("{kind}{number}");
            let named = python.to_str().unwrap();
            instance.ok(&["env", "add", &environment, "six", "--python", named]);
            let told = plain(
                &python,
                "[os.path.realpath(p) for p in (sys.base_prefix, sys.executable, os.path.dirname(os.__file__))]",
            );
            let right = |prefix: &Path| {
                json!({
                    "prefix": prefix, "base_prefix": told[0], "executable": told[1],
                    "library": told[2],
                })
            };
            instance.deploy("asked", ASKED, &["--env", &environment]);
            let answer = instance.invoke("asked", &json!({}));
            assert_eq!(answer["result"], right(Path::new("/pipsqueak/env")), "{named}: {answer}");
            let view = instance.mount().join("envs").join(&environment);
            let own = plain(&view.join("bin/python"), "handler(None)");
            assert_eq!(own, right(&view), "{named}");
            // Which link it was does not matter later.
            let shown = instance.json(&["env", "show", &environment, "--json"]);
            assert_eq!(shown["interpreter"], told[1], "{named}");
        }
    }
}

/// A folder that is also mounted in another place. Unmounted when dropped.
struct Bound(PathBuf);

impl Bound {
    fn at(place: PathBuf, folder: &Path) -> Self {
        std::fs::create_dir_all(&place).unwrap();
        let none = None::<&str>;
        mount(Some(folder), &place, none, MsFlags::MS_BIND, none).unwrap();
        Self(place)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

fn an_interpreter_may_be_on_mounts_of_its_own() {
    let prefix = &prefixes()[0];
    let instance = Instance::start(&Options::default());
    let (private, system, parts) = (folder(), links("/usr/local"), links("/var/tmp"));
    // Where sandboxes have a folder of their own; where they see the system's; and in parts.
    let whole = [private.path(), system.path()].map(|place| {
        let place = place.join("python");
        (Bound::at(place.clone(), prefix), place)
    });
    let lib = Bound::at(parts.path().join("lib"), &prefix.join("lib"));
    std::fs::create_dir(parts.path().join("bin")).unwrap();
    let python = std::fs::canonicalize(prefix.join("bin/python3")).unwrap();
    let copy = parts.path().join("bin").join(python.file_name().unwrap());
    std::fs::copy(&python, &copy).unwrap();
    symlink(&copy, parts.path().join("bin/python3")).unwrap();
    let places = whole.iter().map(|(_, place)| place.as_path()).chain([parts.path()]);
    for (number, place) in places.enumerate() {
        let environment = format!("bound{number}");
        let named = place.join("bin/python3");
        instance.ok(&["env", "add", &environment, "six", "--python", named.to_str().unwrap()]);
        instance.deploy("asked", ASKED, &["--env", &environment]);
        let answer = instance.invoke("asked", &json!({}));
        let told = plain(&named, "[sys.base_prefix, os.path.dirname(os.__file__)]");
        assert_eq!(told[0], json!(place));
        let result = &answer["result"];
        assert_eq!(json!([result["base_prefix"], result["library"]]), told, "{answer}");
    }
    instance.ok(&["down"]);
    drop((whole, lib));
}
