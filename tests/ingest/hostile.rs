//! Wheels made to do harm: they are refused with a reason or harmless, and leave nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::index::Index;
use crate::harness::{Instance, Options, SmallDisk, folder, write};
use crate::mount::peer::same_as_uv;
use crate::tests;

tests!(
    wheels_that_break_the_rules_are_refused,
    a_wheel_cannot_configure_the_environment,
    what_cannot_do_harm_is_installed_without_it,
    code_in_a_pth_file_reaches_nothing_but_its_own_sandbox,
    one_distribution_cannot_change_another,
    one_wheel_is_no_other_distribution,
    what_the_downloads_hold_is_hashed_again,
    a_wheel_is_installed_as_uv_does_it,
    two_distributions_that_disagree_are_both_named,
    a_bomb_is_ended_before_the_disk_is_full,
);

/// Starts an instance that knows only one index, with downloads of its own.
fn instance(index: &Index) -> Instance {
    let mut variables = index.variables();
    let downloads = index.mark().with_file_name("downloads");
    variables.push(("PIPSQUEAK_CACHE", downloads.to_str().unwrap().to_owned()));
    Instance::start(&Options { variables, ..Options::default() })
}

/// Everything that the state folder holds of environments and half-made work, once no step is under way.
fn kept(instance: &Instance) -> Vec<PathBuf> {
    let staging = instance.state().join("staging");
    for _ in 0..1000 {
        if std::fs::read_dir(&staging).unwrap().next().is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut found = Vec::new();
    for folder in ["segments", "views", "staging", "private"] {
        let entries = std::fs::read_dir(instance.state().join(folder)).unwrap();
        found.extend(entries.map(|entry| entry.unwrap().path()));
    }
    found.sort();
    found
}

fn site(instance: &Instance, environment: &str) -> PathBuf {
    instance.mount().join("envs").join(environment).join("lib/python3.11/site-packages")
}

fn wheels_that_break_the_rules_are_refused() {
    // Each wheel, and what the message must say besides its name.
    let cases = [
        ("through", "neither a file nor a folder"),
        ("symlink", "neither a file nor a folder"),
        ("dangling", "neither a file nor a folder"),
        ("fifo", "neither a file nor a folder"),
        ("device", "neither a file nor a folder"),
        ("traversal", "could lead elsewhere"),
        ("above", "could lead elsewhere"),
        ("absolute", "could lead elsewhere"),
        ("upwards", "could lead elsewhere"),
        ("dots", "could lead elsewhere"),
        ("newline", "control characters"),
        ("escape", "control characters"),
        ("twice", "twice/__init__.py"),
        ("moved_twice", "moved_twice/__init__.py"),
        ("linked_twice", "lib/extra.txt"),
        ("file_and_folder", "file_and_folder/x"),
        ("own_record", "own_record-1.0.dist-info/RECORD"),
        ("understated", "declared uncompressed size"),
        ("overstated", "another size"),
        ("overlapping", "share bytes"),
        ("lying_hash", "lying_hash/data.txt"),
        ("lying_size", "lying_size/data.txt"),
        ("no_record", "RECORD"),
        ("not_utf8", "UTF-8"),
        ("takeover", "reserved name"),
        ("point_python", "reserved name"),
        ("point_above", "could lead elsewhere"),
        ("point_code", "entry point"),
        ("impostor", ".dist-info"),
        ("renamed", ".dist-info"),
        ("later", "WHEEL"),
    ];
    let names: Vec<_> = cases.iter().map(|(name, _)| *name).chain(["sound"]).collect();
    let index = Index::of(&names);
    let instance = instance(&index);
    instance.ok(&["env", "add", "before", "sound"]);
    let (supervisor, before) = (instance.status()["pid"].clone(), kept(&instance));
    for (name, says) in cases {
        let output = instance.call(&["env", "add", "refused", name]);
        assert_eq!(output.code, 2, "{name}: {output:?}");
        let wanted = name.replace('_', "-");
        let names_it = output.stderr.contains(name) || output.stderr.contains(&wanted);
        assert!(names_it && output.stderr.contains(says), "{name}: {output:?}");
        assert_eq!(instance.call(&["env", "show", "refused"]).code, 4, "{name}");
        assert!(!instance.mount().join("envs/refused").exists(), "{name}");
        assert_eq!(kept(&instance), before, "{name}");
        assert!(!index.mark().exists(), "{name}");
    }
    assert_eq!(instance.status()["pid"], supervisor);
    instance.ok(&["env", "add", "after", "sound"]);
}

/// The wheel's content is harmless by itself, so that only the environment is refused.
fn a_wheel_cannot_configure_the_environment() {
    let index = Index::of(&["configure"]);
    let instance = instance(&index);
    let output = instance.call(&["env", "add", "refused", "configure"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("configure 1.0 both bring pyvenv.cfg"), "{output:?}");
    assert_eq!(instance.call(&["env", "show", "refused"]).code, 4);
    assert!(!instance.mount().join("envs/refused").exists());
}

fn what_cannot_do_harm_is_installed_without_it() {
    let names =
        ["setuid", "extra", "missing", "backslash", "record_outside", "lib64", "overwritten"];
    let index = Index::of(&names);
    let instance = instance(&index);
    instance.ok(&[["env", "add", "odd"].as_slice(), &names].concat());
    let site = site(&instance, "odd");
    for tool in [site.join("setuid/tool"), instance.mount().join("envs/odd/bin/setuid-tool")] {
        let mode = std::fs::metadata(&tool).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "{}", tool.display());
    }
    // Lines for files that are not there, or that would be elsewhere, are left out.
    for name in ["record_outside", "missing", "extra"] {
        assert!(site.join(name).join("__init__.py").exists(), "{name}");
        let record = site.join(format!("{name}-1.0.dist-info/RECORD"));
        for line in std::fs::read_to_string(record).unwrap().lines() {
            let path = line.split(',').next().unwrap();
            assert!(site.join(path).exists() && !path.contains(".."), "{name}: {line}");
        }
    }
    assert!(site.join("overwritten").join(format!("{}.py", "n".repeat(252))).exists());
    for name in ["lib64/lib64/plugin.txt", "lib/lib64/plugin.txt", "lib64/lib64/beside.txt"] {
        assert!(instance.mount().join("envs/odd").join(name).exists(), "{name}");
    }
    let record = std::fs::read_to_string(site.join("lib64-1.0.dist-info/RECORD")).unwrap();
    assert!(record.contains("../../../lib64/lib64/plugin.txt"), "{record}");
    let above = site.parent().unwrap();
    assert!(!above.join("above.py").exists() && !above.parent().unwrap().join("above.py").exists());
    // Not a separator here: one odd name in the folder of packages.
    assert!(site.join("backslash\\..\\..\\..\\above.py").exists());
    assert!(!index.mark().exists());
}

fn code_in_a_pth_file_reaches_nothing_but_its_own_sandbox() {
    let index = Index::of(&["pth"]);
    let instance = instance(&index);
    instance.ok(&["env", "add", "pth", "pth"]);
    instance.deploy("f", "import pth\ndef handler(event): return pth.x\n", &["--env", "pth"]);
    assert_eq!(instance.invoke("f", &serde_json::json!({}))["result"], 1);
    assert!(!index.mark().exists());
}

/// The two distributions are installed in one go, and the code of one runs in each interpreter from then on.
fn one_distribution_cannot_change_another() {
    let index = Index::of(&["poison", "victim"]);
    let instance = instance(&index);
    instance.ok(&["env", "add", "both", "poison", "victim"]);
    let read = |env| std::fs::read_to_string(site(&instance, env).join("victim/__init__.py"));
    assert_eq!(read("both").unwrap(), "x = 'as published'\n");
    // Its bytecode neither: without `site`, so that nothing else runs.
    let place = site(&instance, "both");
    let code = format!(
        "import sys; sys.path.insert(0, '{}'); import victim; print(victim.x)",
        place.display()
    );
    let python = instance.mount().join("envs/both/bin/python");
    let output = Command::new(python).args(["-I", "-S", "-c", &code]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "as published\n", "{output:?}");
}

/// A wheel's files of another distribution never pass for that distribution, whatever the wheel
/// says. An environment with the other one gets what was published.
fn one_wheel_is_no_other_distribution() {
    let refused = ["hijack", "zhijack", "hijack_top", "hijack_data", "hijack_lib64", "hijack_case"];
    let conflicting = ["overlay", "overlay_top"];
    let index = Index::of(&[&refused[..], &conflicting, &["bytecode", "six", "victim"]].concat());
    let instance = instance(&index);
    for name in refused {
        for wanted in [&[name, "six"][..], &[name]] {
            let output = instance.call(&[&["env", "add", "both"], wanted].concat());
            assert_eq!(output.code, 2, "{name}: {output:?}");
            let says = |text: &str| output.stderr.to_lowercase().contains(text);
            assert!(says(&name.replace('_', "-")) && says("dist-info"), "{name}: {output:?}");
        }
    }
    for name in conflicting {
        instance.ok(&["env", "add", name, name]);
        let output = instance.call(&["env", "add", "both", name, "six"]);
        assert_eq!(output.code, 2, "{name}: {output:?}");
        let name = format!("{} 1.0", name.replace('_', "-"));
        for says in [&*name, "six 1.17.0", "six.py"] {
            assert!(output.stderr.contains(says), "{says}: {output:?}");
        }
    }
    // Bytecode of a module that is another's is not there at all, so that it is not taken for that.
    instance.ok(&["env", "add", "both", "bytecode", "six", "victim"]);
    instance.ok(&["env", "add", "alone", "bytecode"]);
    assert!(!site(&instance, "alone").join("__pycache__").exists());
    let python = instance.mount().join("envs/both/bin/python");
    let code = "import six, victim; print(six.x, victim.x)";
    let output = Command::new(python).args(["-I", "-c", code]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "as published as published\n");

    // Who pins six by its digest later has what that is of.
    let digest = index.sha256("six", "six-1.17.0-py3-none-any.whl");
    let line = format!("six==1.17.0 --hash=sha256:{digest}\n");
    let file = write(&instance.scratch(), "pinned.txt", &line);
    instance.ok(&["env", "add", "pinned", "-r", file.to_str().unwrap()]);
    let six = std::fs::read_to_string(site(&instance, "pinned").join("six.py"));
    assert_eq!(six.unwrap(), "x = 'as published'\n");
    instance.ok(&["store", "fsck", "--archives"]);
}

/// Files that uv has unpacked, and stored archives, are not trusted: both are hashed again.
fn what_the_downloads_hold_is_hashed_again() {
    let index = Index::of(&["six"]);
    let first = instance(&index);
    first.ok(&["env", "add", "six", "six"]);
    let downloads = index.mark().with_file_name("downloads");
    // As if uv had installed it, too.
    let uv = std::env::var_os("PIPSQUEAK_UV").unwrap_or_else(|| "uv".into());
    let target = folder();
    let output = Command::new(uv)
        .args(["pip", "install", "--link-mode", "copy", "six", "--cache-dir"])
        .arg(downloads.join("uv"))
        .arg("--target")
        .arg(target.path())
        .envs(index.variables())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut changed = 0;
    let mut folders = vec![downloads.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() {
                folders.push(entry);
            } else if name == "six.py" {
                std::fs::write(&entry, "x = 'hijacked'\n").unwrap();
                changed += 1;
            } else if name.starts_with("sha256-") {
                let mut wheel = std::fs::read(&entry).unwrap();
                wheel[100] ^= 1;
                std::fs::write(&entry, wheel).unwrap();
                changed += 1;
            }
        }
    }
    assert!(changed >= 2, "{changed}");
    drop(first);
    let second = instance(&index);
    second.ok(&["env", "add", "six", "six"]);
    let six = std::fs::read_to_string(site(&second, "six").join("six.py"));
    assert_eq!(six.unwrap(), "x = 'as published'\n");
    second.ok(&["store", "fsck", "--archives"]);
}

fn a_wheel_is_installed_as_uv_does_it() {
    let names = ["split", "sound", "setuid", "extra", "six"];
    let index = Index::of(&names);
    let instance = instance(&index);
    instance.ok(&[["env", "add", "odd"].as_slice(), &names].concat());
    let compared = same_as_uv(&instance, "odd", &index.variables());
    assert!(compared > 50, "{compared}");
    let root = instance.mount().join("envs/odd");
    for (script, prints) in [("split-run", "split"), ("script", "script"), ("crlf", "crlf")] {
        let output = Command::new(root.join("bin").join(script)).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), prints, "{output:?}");
    }
    assert!(site(&instance, "odd").join("split/__pycache__/__init__.cpython-311.pyc").exists());
    instance.ok(&["store", "fsck", "--archives"]);
}

fn two_distributions_that_disagree_are_both_named() {
    let index = Index::of(&["clash_one", "clash_two"]);
    let instance = instance(&index);
    let both = |name| instance.call(&["env", "add", name, "clash_one", "clash_two"]);
    let is_refused = |output: &crate::harness::Output| {
        assert_eq!(output.code, 2, "{output:?}");
        for says in ["clash-one 1.0", "clash-two 1.0", "clash/shared.py"] {
            assert!(output.stderr.contains(says), "{says}: {output:?}");
        }
    };
    // Neither is stored yet; then both are.
    is_refused(&both("together"));
    instance.ok(&["env", "add", "one", "clash_one"]);
    instance.ok(&["env", "add", "two", "clash_two"]);
    is_refused(&both("stored"));
    let shared = |env| std::fs::read_to_string(site(&instance, env).join("clash/shared.py"));
    assert_eq!(
        (shared("one").unwrap(), shared("two").unwrap()),
        ("x = 1\n".into(), "x = 2\n".into())
    );
}

/// The bytes of a folder and everything in it.
fn taken(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let sizes = entries.map(|entry| {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() { taken(&entry.path()) } else { metadata.len() }
    });
    sizes.sum()
}

fn a_bomb_is_ended_before_the_disk_is_full() {
    let index = Index::of(&["bomb", "sound"]);
    let disk = SmallDisk::new("512M");
    let place = |name| disk.path().join(name).to_str().unwrap().to_owned();
    let mut variables = index.variables();
    variables.extend([("PIPSQUEAK_STATE", place("state")), ("PIPSQUEAK_CACHE", place("cache"))]);
    let instance = Instance::start(&Options { variables, ..Options::default() });
    instance.ok(&["env", "add", "before", "sound"]);
    let before = taken(disk.path());
    let output = instance.call(&["env", "add", "bomb", "bomb"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("half of the free space"), "{output:?}");
    // The wheel itself may stay among the downloads; nothing that came out of it does.
    let grown = taken(disk.path()) - before;
    assert!(grown < 8 << 20, "{grown} bytes are left");
    assert!(!instance.mount().join("envs/bomb").exists());
    instance.ok(&["env", "add", "after", "sound"]);
}
