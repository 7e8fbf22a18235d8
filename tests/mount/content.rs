//! A view is what uv would have installed.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::harness::{cache, shared};
use crate::tests;

tests!(
    every_file_is_what_uv_installs,
    bytecode_is_valid_whatever_the_time,
    an_ordinary_python_uses_it,
    nothing_in_it_can_be_changed,
);

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn uv() -> std::ffi::OsString {
    std::env::var_os("PIPSQUEAK_UV").unwrap_or_else(|| "uv".into())
}

/// What is at a path: a link's target, or a file's content and whether it may be executed.
type Content = Result<String, (Vec<u8>, bool)>;

/// All files and links below a folder, by path, that are not of an installer's own making.
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

/// Whether a file is made at installation: bytecode, and uv's mark of what was asked for.
fn is_of_an_installer(path: &str) -> bool {
    let path = Path::new(path);
    path.extension().is_some_and(|extension| extension == "pyc") || path.ends_with("REQUESTED")
}

/// A RECORD without its lines for bytecode and for the installer's own mark.
fn without_own_lines(record: &str) -> Vec<u8> {
    let lines = record.lines().filter(|line| {
        let path = line.split(',').next().unwrap();
        !is_of_an_installer(path)
    });
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

fn every_file_is_what_uv_installs() {
    let instance = shared();
    let view = instance.mount().join("envs/science");
    let python = instance.json(&["env", "show", "science", "--json"])["interpreter"].clone();
    let scratch = crate::harness::folder();
    let (plain, lock) = (scratch.path().join("plain"), scratch.path().join("lock.txt"));
    std::fs::write(&lock, instance.ok(&["env", "freeze", "science"])).unwrap();
    run(Command::new(uv())
        .args(["venv", "--quiet", "--relocatable", "--python", python.as_str().unwrap()])
        .arg(&plain));
    run(Command::new(uv())
        .args(["pip", "install", "--quiet", "--no-deps", "--link-mode", "copy", "--cache-dir"])
        .arg(cache().join("uv"))
        .arg("--python")
        .arg(plain.join("bin/python"))
        .arg("-r")
        .arg(&lock));

    let (ours, theirs) = (files(&view), files(&plain));
    let packages = |path: &&String| path.starts_with("lib/") || path.starts_with("bin/");
    let mut compared = 0;
    for (path, content) in &theirs {
        // uv's own conveniences for a shell are not the packages'.
        let of_the_shell = path.starts_with("bin/")
            && ["activate", "deactivate", "pydoc"].iter().any(|name| path[4..].starts_with(name));
        if of_the_shell || !packages(&path) {
            continue;
        }
        let ours = ours.get(path).unwrap_or_else(|| panic!("{path} is missing"));
        assert!(ours == content, "{path} differs");
        compared += 1;
    }
    assert!(compared > 2000, "only {compared} files compared");
    for path in ours.keys().filter(packages) {
        assert!(theirs.contains_key(path), "{path} is not of uv's making");
    }
    assert!(ours.contains_key("pyvenv.cfg"));
}

fn bytecode_is_valid_whatever_the_time() {
    let instance = shared();
    let site = instance.mount().join("envs/science/lib/python3.11/site-packages");
    let cached = site.join("pandas/__pycache__/__init__.cpython-311.pyc");
    let bytes = std::fs::read(cached).unwrap();
    assert_eq!(bytes[4..8], 1_u32.to_le_bytes(), "unchecked-hash");
    let python = instance.mount().join("envs/science/bin/python");
    let script = "
import sys
import pandas, requests
from importlib import _bootstrap_external as b
packages = [m for m in list(sys.modules.values()) if getattr(m, '__file__', None) and '/envs/' in m.__file__ and m.__file__.endswith('.py')]
assert len(packages) > 300, len(packages)
for m in packages:
    flags = b._classify_pyc(open(m.__cached__, 'rb').read(), m.__name__, {})
    assert flags == 1, m
print('valid')
";
    assert_eq!(run(Command::new(python).args(["-I", "-c", script])), "valid\n");
}

fn an_ordinary_python_uses_it() {
    let instance = shared();
    let view = instance.mount().join("envs/science");
    let script = "import pandas, importlib.metadata as m, sys; print(pandas.__file__, m.version('pandas') == pandas.__version__)";
    let file = view.join("lib/python3.11/site-packages/pandas/__init__.py");
    let expected = format!("{} True\n", file.display());
    assert_eq!(run(Command::new(view.join("bin/python")).args(["-c", script])), expected);
    let site = view.join("lib/python3.11/site-packages");
    let plain = run(Command::new("python3").args(["-c", script]).env("PYTHONPATH", site));
    assert_eq!(plain, expected);
    // Console scripts, and the folder of each distribution.
    assert!(run(Command::new(view.join("bin/f2py")).arg("-v")).starts_with('2'));
    let dists = std::fs::read_dir(instance.mount().join("dists")).unwrap();
    let names: Vec<_> = dists.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let pandas = names.iter().find(|name| name.starts_with("pandas-")).unwrap();
    let alone = instance.mount().join("dists").join(pandas).join("lib/python3.11/site-packages");
    assert!(alone.join("pandas/__init__.py").exists() && !alone.join("numpy").exists());
}

fn nothing_in_it_can_be_changed() {
    let instance = shared();
    let site = instance.mount().join("envs/science/lib/python3.11/site-packages");
    let file = site.join("pandas/__init__.py");
    let read_only = |result: std::io::Result<()>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{error}");
    };
    read_only(std::fs::write(&file, "x"));
    read_only(std::fs::write(site.join("new.py"), "x"));
    read_only(std::fs::remove_file(&file));
    read_only(std::fs::create_dir(site.join("new")));
    read_only(std::fs::rename(&file, site.join("pandas/other.py")));
    read_only(std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o777)));
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (0, 0, 0o444));
}
