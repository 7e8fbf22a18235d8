//! Installations by uv of the same packages, to compare views with.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{Instance, cache};

/// Runs a command that must succeed; returns its stdout.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn uv() -> std::ffi::OsString {
    std::env::var_os("PIPSQUEAK_UV").unwrap_or_else(|| "uv".into())
}

/// The content of a path: a link's target, or a file's bytes and true if it may be executed.
type Content = Result<String, (Vec<u8>, bool)>;

/// All files and links below a folder, by path, without those that an installer makes.
fn files(root: &Path) -> BTreeMap<String, Content> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Content>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            if metadata.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                found.insert(name, Ok(target.to_string_lossy().into_owned()));
            } else if metadata.is_dir() {
                walk(root, &path, found);
            } else if !is_of_an_installer(&name) {
                let content = if name.ends_with("/RECORD") {
                    without_own_lines(&std::fs::read_to_string(&path).unwrap())
                } else {
                    std::fs::read(&path).unwrap()
                };
                let executable = metadata.permissions().mode() & 0o111 != 0;
                found.insert(name, Err((content, executable)));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// True if an installer makes the file: bytecode, or uv's mark of requested packages.
fn is_of_an_installer(path: &str) -> bool {
    let path = Path::new(path);
    path.extension().is_some_and(|extension| extension == "pyc") || path.ends_with("REQUESTED")
}

/// The bytes of a RECORD without the lines of files that an installer makes.
fn without_own_lines(record: &str) -> Vec<u8> {
    let lines = record.lines().filter(|line| {
        let path = line.split(',').next().unwrap();
        !is_of_an_installer(path)
    });
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

/// Compares an environment's view with uv's installation of the same versions, given variables such
/// as the index's address; returns the number of files.
pub fn same_as_uv(instance: &Instance, environment: &str, variables: &[(&str, String)]) -> usize {
    let view = instance.mount().join("envs").join(environment);
    let shown = instance.json(&["env", "show", environment, "--json"]);
    let scratch = crate::harness::folder();
    let (plain, lock) = (scratch.path().join("plain"), scratch.path().join("lock.txt"));
    std::fs::write(&lock, instance.ok(&["env", "freeze", environment])).unwrap();
    let uv = || {
        let mut uv = Command::new(uv());
        uv.envs(variables.iter().map(|(name, value)| (name, value))).arg("--quiet");
        uv
    };
    let python = shown["interpreter"].as_str().unwrap();
    run(uv().args(["venv", "--relocatable", "--python", python]).arg(&plain));
    run(uv()
        .args(["pip", "install", "--no-deps", "--link-mode", "copy", "--cache-dir"])
        // Not the instances': what is written here is of another user than their jobs.
        .arg(cache().join("peer"))
        .arg("--python")
        .arg(plain.join("bin/python"))
        .arg("-r")
        .arg(&lock));

    let (ours, theirs) = (files(&view), files(&plain));
    // `pyvenv.cfg` is of each installer's own making, and so is what else is in the root.
    let of_packages = |path: &&String| path.contains('/');
    let mut compared = 0;
    for (path, content) in theirs.iter().filter(|(path, _)| of_packages(path)) {
        // uv's own conveniences for a shell are not the packages'.
        let of_the_shell = path.starts_with("bin/")
            && ["activate", "deactivate", "pydoc"].iter().any(|name| path[4..].starts_with(name));
        if of_the_shell {
            continue;
        }
        let ours = ours.get(path).unwrap_or_else(|| panic!("{path} is missing"));
        assert!(ours == content, "{path} differs");
        compared += 1;
    }
    for path in ours.keys().filter(of_packages) {
        assert!(theirs.contains_key(path), "{path} is not of uv's making");
    }
    assert!(ours.contains_key("pyvenv.cfg"));
    compared
}
