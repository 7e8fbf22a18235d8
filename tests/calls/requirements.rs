//! Requirements: the packages that can be asked for, and in which forms.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Instance, Options, Output, shared, write};
use crate::tests;

tests!(
    an_interpreter_may_be_named,
    an_interpreter_may_be_elsewhere,
    files_may_name_files,
    files_are_read_as_editors_and_shells_write_them,
    hashes_are_held_to,
    what_needs_files_of_the_host_is_refused,
    locks_are_installed_as_they_are,
    a_folder_brings_its_packages,
    a_script_brings_its_packages,
    versions_are_shared,
);

/// Names and versions of an environment's distributions.
fn frozen(instance: &Instance, environment: &str) -> Vec<String> {
    let text = instance.ok(&["env", "freeze", environment]);
    text.lines().map(ToOwned::to_owned).collect()
}

fn add(instance: &Instance, name: &str, file: &Path) -> Output {
    instance.call(&["env", "add", name, "-r", file.to_str().unwrap()])
}

fn refused(output: &Output, says: &str) {
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains(says) && !output.stderr.contains("panicked"), "{output:?}");
}

fn files_are_read_as_editors_and_shells_write_them() {
    let instance = shared();
    let text = "six==1.16.0\r\n";
    let wide = |to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(to_bytes).collect()
    };
    let marked = format!("\u{feff}{text}").into_bytes();
    let named = b"# -*- coding: latin-1 -*-\n# \xe9\nsix==1.16.0\n".to_vec();
    let file = instance.scratch().join("odd.txt");
    for content in [marked, wide(u16::to_le_bytes), wide(u16::to_be_bytes), named] {
        std::fs::write(&file, &content).unwrap();
        let added = add(&instance, "odd", &file);
        assert_eq!(added.code, 0, "{content:?}: {added:?}");
        assert_eq!(frozen(&instance, "odd"), ["six==1.16.0"]);
        instance.ok(&["env", "rm", "odd"]);
    }
    std::fs::write(&file, b"six # \xe9\n").unwrap();
    refused(&add(&instance, "odd", &file), "odd.txt: it is not in UTF-8; save it as UTF-8");
    std::fs::write(&file, "six\n--no-such-option\n").unwrap();
    refused(&add(&instance, "odd", &file), "odd.txt:2: --no-such-option: ");
}

/// SHA-256 of the only wheel of six 1.16.0; those of six 1.17.0 and idna 3.10 follow.
const SIX_16: &str = "8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254";
const SIX_17: &str = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274";
const IDNA_10: &str = "946d195a0d259cbba61165e88e65941f16e9b36ea6ddb97f00452bae8b1287d3";

fn an_interpreter_may_be_named() {
    let instance = shared();
    let scratch = instance.scratch();
    let default = instance.json(&["env", "show", "science", "--json"])["interpreter"].clone();
    let venv = scratch.join("venv");
    let made = std::process::Command::new(default.as_str().unwrap())
        .args(["-m", "venv", "--without-pip"])
        .arg(&venv)
        .status();
    assert!(made.unwrap().success());
    let named = |python: &Path| {
        instance.call(&["env", "add", "named", "six", "--python", python.to_str().unwrap()])
    };
    // What it is behind links: environments of it share what the default's have.
    assert_eq!(named(&venv.join("bin/python")).code, 0);
    let shown = instance.json(&["env", "show", "named", "--json"]);
    assert_eq!(shown["interpreter"], default);
    refused(&named(Path::new("/bin/true")), "no Python");
    refused(&named(&venv), "venv");
    refused(&named(&venv.join("nowhere")), "nowhere");
}

fn an_interpreter_may_be_elsewhere() {
    let instance = shared();
    let add = |flags: &[&str]| {
        instance.call(&[&["env", "add", "elsewhere", "markupsafe", "six"], flags].concat())
    };
    let output = add(&["--python-version", "3.10"]);
    assert_eq!(output.code, 0, "{output:?}");
    let shown = instance.ok(&["env", "show", "elsewhere"]);
    assert!(shown.contains("CPython 3.10.0 (not on this machine: no bytecode)"), "{shown}");
    let root = instance.mount().join("envs/elsewhere");
    let site = root.join("lib/python3.10/site-packages");
    let speedups = site.join("markupsafe/_speedups.cpython-310-x86_64-linux-gnu.so");
    assert!(speedups.exists() && site.join("six.py").exists());
    assert!(!site.join("__pycache__").exists() && !site.join("markupsafe/__pycache__").exists());
    let python = std::fs::read_link(root.join("bin/python")).unwrap();
    assert_eq!(python, Path::new("/usr/local/bin/python3.10"));
    let config = std::fs::read_to_string(root.join("pyvenv.cfg")).unwrap();
    assert!(config.contains("home = /usr/local/bin\n"), "{config}");
    // Containers can use it; here nothing can run in it.
    let code = write(&instance.scratch(), "g.py", VERSIONS);
    let deploy = ["deploy", "elsewhere", code.to_str().unwrap(), "--env", "elsewhere"];
    refused(&instance.call(&deploy), "Python 3.10 that this machine does not have");
    refused(&add(&["--python-version", "3.10", "--allow-build"]), "no Python 3.10");
    refused(&add(&["--python-version", "banana"]), "no version of Python");

    // One that is here is not elsewhere, and has bytecode.
    let science = instance.json(&["env", "show", "science", "--json"]);
    let here = science["python"].as_str().unwrap();
    assert_eq!(add(&["--python-version", here]).code, 0);
    let shown = instance.json(&["env", "show", "elsewhere", "--json"]);
    assert_eq!((&shown["python"], &shown["bytecode"]), (&science["python"], &json!(true)));
    let interpreter = science["interpreter"].as_str().unwrap();
    refused(&add(&["--python", interpreter, "--python-version", "3.10"]), here);
}

fn files_may_name_files() {
    let instance = shared();
    let folder = instance.scratch().join("naming");
    std::fs::create_dir_all(folder.join("app")).unwrap();
    let main = write(
        &folder,
        "app/main.txt",
        "# comment\n-r ../base.txt\n-c limits.txt\nidna ; python_version > '3'\n\
         colorama ; sys_platform == 'win32'\n",
    );
    write(&folder, "base.txt", "six \\\n    >=1.10\n");
    write(&folder, "app/limits.txt", "six<1.17\nidna<3.10\nclick<8\n");
    let output = add(&instance, "naming", &main);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(frozen(&instance, "naming"), ["idna==3.9", "six==1.16.0"]);

    let limits = folder.join("app/limits.txt");
    let constrained = ["env", "add", "typed", "six", "-c", limits.to_str().unwrap()];
    instance.ok(&constrained);
    assert_eq!(frozen(&instance, "typed"), ["six==1.16.0"]);

    let extras = write(&folder, "extras.txt", "requests[socks]\n");
    assert_eq!(add(&instance, "extras", &extras).code, 0);
    let names = frozen(&instance, "extras").join(" ");
    assert!(names.contains("pysocks==") && names.contains("requests=="), "{names}");
}

fn hashes_are_held_to() {
    let instance = shared();
    let file = |text: &str| write(&instance.scratch(), "hashes.txt", text);
    let six = format!("six==1.16.0 --hash=sha256:{SIX_16}\n");
    assert_eq!(add(&instance, "hashed", &file(&six)).code, 0);
    assert_eq!(frozen(&instance, "hashed"), ["six==1.16.0"]);
    // Of several, as tools write them.
    let both = format!("six==1.17.0 \\\n  --hash=sha256:{SIX_16} \\\n  --hash=sha256:{SIX_17}\n");
    assert_eq!(add(&instance, "hashed", &file(&both)).code, 0);
    for (text, says) in [
        (format!("{six}idna==3.10\n"), "none for idna==3.10"),
        ("--require-hashes\nidna==3.10\n".to_owned(), "none for idna==3.10"),
        ("--no-binary six\nsix\n".to_owned(), "--allow-build"),
        (format!("six==1.17.0 --hash=sha256:{SIX_16}\n"), "six 1.17.0 has no wheel"),
        // Not of the file that the index has: found out when it is there.
        (format!("six==1.17.0 --hash=sha512:{SIX_16}{SIX_16}\n"), "sha512"),
    ] {
        refused(&add(&instance, "unhashed", &file(&text)), says);
    }
    assert_eq!(instance.call(&["env", "show", "unhashed"]).code, 4);
}

fn what_needs_files_of_the_host_is_refused() {
    let instance = shared();
    let scratch = instance.scratch();
    for line in ["-e .", "./six", "six @ file:///six.whl", "-f /wheels", "six.whl"] {
        let file = write(&scratch, "local.txt", &format!("idna\n{line}\n"));
        refused(&add(&instance, "local", &file), &format!("local.txt:2: {line}"));
    }
    refused(&instance.call(&["env", "add", "local", "../six"]), "../six");
    refused(&add(&instance, "local", &scratch.join("nowhere.txt")), "nowhere.txt");
    let secret = write(&scratch, "secret.txt", "-i https://me:hunter2@localhost/simple\nsix\n");
    let output = add(&instance, "local", &secret);
    refused(&output, "[index]");
    assert!(!output.stderr.contains("hunter2"), "{output:?}");
}

fn lock(packages: &str) -> String {
    format!("lock-version = '1.0'\ncreated-by = 'a test'\nrequires-python = '>=3.9'\n{packages}")
}

fn package(name: &str, version: &str, hash: &str) -> String {
    format!(
        "[[packages]]\nname = '{name}'\nversion = '{version}'\n\
         wheels = [{{ url = 'https://files.pythonhosted.org/{name}.whl', hashes = {{ sha256 = \
         '{hash}' }} }}]\n"
    )
}

fn locks_are_installed_as_they_are() {
    let instance = shared();
    let folder = instance.scratch().join("locks");
    std::fs::create_dir_all(&folder).unwrap();
    // An old version, of two distributions that do not need each other.
    let good = [package("six", "1.16.0", SIX_16), package("idna", "3.10", IDNA_10)].concat();
    let file = write(&folder, "pylock.toml", &lock(&good));
    let output = add(&instance, "locked", &file);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(frozen(&instance, "locked"), ["idna==3.10", "six==1.16.0"]);
    let limited = format!("environments = [\"sys_platform == 'linux'\"]\n{good}");
    assert_eq!(add(&instance, "locked", &write(&folder, "pylock.toml", &lock(&limited))).code, 0);

    for (text, says) in [
        (lock(&package("six", "1.16.0", SIX_17)), "six 1.16.0 has no wheel"),
        (
            lock("[[packages]]\nname = 'x'\nversion = '1'\n[packages.vcs]\ntype = 'git'\n"),
            "x comes",
        ),
        (lock(&limited.replace("linux", "win32")), "other environments"),
        (lock(&good).replace(">=3.9", "<3.9"), "Python <3.9 is required"),
        (lock(&good).replace("1.0", "9.0"), "9.0"),
        ("six\n".to_owned(), "the lock is refused"),
    ] {
        refused(&add(&instance, "unlocked", &write(&folder, "pylock.dev.toml", &text)), says);
    }
    // uv's own lock of many files is one, too.
    assert_eq!(add(&instance, "own", &uv_lock(&folder, "click<8.2\nsix\n")).code, 0);
    assert!(frozen(&instance, "own")[0].starts_with("click==8.1"));
}

fn uv_lock(folder: &Path, requirements: &str) -> PathBuf {
    let lock = folder.join("pylock.own.toml");
    let uv = std::env::var_os("PIPSQUEAK_UV").unwrap_or_else(|| "uv".into());
    let output = std::process::Command::new(uv)
        .args(["pip", "compile", "--quiet", "--universal", "--format", "pylock.toml"])
        .arg(write(folder, "wanted.in", requirements))
        .arg("--output-file")
        .arg(&lock)
        .arg("--cache-dir")
        .arg(folder.join("cache"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    lock
}

const VERSIONS: &str = "
from importlib import metadata

def handler(event):
    return sorted(f'{d.name}=={d.version}' for d in metadata.distributions())
";

fn deployed(instance: &Instance, name: &str, source: &Path) -> Value {
    instance.ok(&["deploy", name, source.to_str().unwrap()]);
    instance.invoke(name, &json!({}))["result"].clone()
}

fn a_folder_brings_its_packages() {
    let instance = shared();
    let folder = instance.scratch().join("brings");
    std::fs::create_dir_all(&folder).unwrap();
    write(&folder, "main.py", VERSIONS);
    assert_eq!(deployed(&instance, "brings", &folder), json!([]));
    write(&folder, "requirements.txt", "-c limits.txt\nsix\n");
    write(&folder, "limits.txt", "six==1.15.0\n");
    assert_eq!(deployed(&instance, "brings", &folder), json!(["six==1.15.0"]));
    write(&folder, "pylock.toml", &lock(&package("six", "1.17.0", SIX_17)));
    assert_eq!(deployed(&instance, "brings", &folder), json!(["six==1.17.0"]));
    write(&folder, "pylock.pipsqueak.toml", &lock(&package("six", "1.16.0", SIX_16)));
    assert_eq!(deployed(&instance, "brings", &folder), json!(["six==1.16.0"]));
    // What is said outweighs what is brought.
    instance.ok(&["env", "add", "said", "idna==3.9"]);
    instance.ok(&["deploy", "brings", folder.to_str().unwrap(), "--env", "said"]);
    assert_eq!(instance.invoke("brings", &json!({}))["result"], json!(["idna==3.9"]));
    instance.ok(&["functions", "rm", "brings"]);
}

fn a_script_brings_its_packages() {
    let instance = shared();
    let script = |block: &str| write(&instance.scratch(), "f.py", &format!("{block}{VERSIONS}"));
    let block = "# /// script\n# requires-python = '>=3.9'\n# dependencies = ['six==1.16.0']\n";
    let closed = format!("{block}# ///\n");
    assert_eq!(deployed(&instance, "script", &script(&closed)), json!(["six==1.16.0"]));
    // Not closed, so a comment.
    assert_eq!(deployed(&instance, "script", &script(block)), json!([]));
    let file = script(&closed);
    instance.ok(&["env", "add", "of-script", "-r", file.to_str().unwrap()]);
    assert_eq!(frozen(&instance, "of-script"), ["six==1.16.0"]);
    let deploy =
        |block: &str| instance.call(&["deploy", "script", script(block).to_str().unwrap()]);
    refused(&deploy(&format!("{closed}\n{closed}")), "line 6: a second");
    refused(&deploy(&closed.replace(">=3.9", ">=3.99")), "Python >=3.99 is required");
    refused(&deploy(&closed.replace("six==1.16.0", "./six")), "./six");
    // What was there before is still there.
    assert_eq!(instance.invoke("script", &json!({}))["result"], json!([]));
    instance.ok(&["functions", "rm", "script"]);
}

fn versions_are_shared() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "old", "six==1.15.0", "idna<3.5"]);
    let old = instance.json(&["env", "show", "old", "--json"]);
    instance.ok(&["env", "add", "new", "six"]);
    let new = instance.json(&["env", "show", "new", "--json"]);
    let six = |environment: &Value| {
        let all = environment["distributions"].as_array().unwrap();
        all.iter().find(|one| one["name"] == "six").unwrap().clone()
    };
    assert_eq!(six(&new), six(&old));
    assert_eq!(six(&new)["version"], "1.15.0");
    // Not where the requirements do not allow it, and of several the newest that they do.
    instance.ok(&["env", "add", "newer", "six>1.15,<1.17"]);
    instance.ok(&["env", "add", "both", "six"]);
    assert_eq!(frozen(&instance, "both"), frozen(&instance, "newer"));
    instance.ok(&["env", "add", "oldest", "six<1.16"]);
    assert_eq!(frozen(&instance, "oldest"), ["six==1.15.0"]);
    // Nor where the newest is asked for.
    instance.ok(&["env", "add", "both", "six", "--upgrade"]);
    assert!(frozen(&instance, "both") > frozen(&instance, "newer"));
}
