//! Objects that a collection takes or keeps, while everything runs.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use super::{python, read_all, site};
use crate::harness::{Instance, Options, drop_caches, eventually, kill_9, wait_until_gone};
use crate::tests;

tests!(
    what_no_environment_needs_goes_and_readers_notice_nothing,
    what_is_out_of_reach_stays_for_the_grace_period,
    a_functions_environment_goes_with_its_last_user,
    what_is_mounted_elsewhere_or_mapped_stays,
    what_another_namespace_has_of_a_view_stays,
    what_is_pinned_stays,
    what_a_user_has_named_stays_whatever_the_name,
    a_collection_that_is_killed_takes_nothing_that_is_needed,
);

pub(super) fn collect(instance: &Instance) -> Value {
    instance.json(&["store", "gc", "--grace", "0", "--json"])
}

fn names(of: &Value) -> Vec<String> {
    let of = of.as_array().unwrap();
    of.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
}

pub(super) fn sound(instance: &Instance) {
    let output = instance.call(&["store", "fsck"]);
    assert_eq!(output.code, 0, "{output:?}");
}

fn what_no_environment_needs_goes_and_readers_notice_nothing() {
    let instance = Instance::start(&Options::default());
    // One segment, of which little stays: it is rewritten under its readers.
    instance.ok(&["env", "add", "all", "six", "idna", "certifi", "requests"]);
    instance.ok(&["env", "add", "kept", "six"]);
    let before = instance.json(&["store", "du", "--json"]);
    assert_eq!(names(&before["environments"]), ["all", "kept"]);
    let six = |usage: &Value| {
        let rows = usage["distributions"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["name"].as_str().unwrap().starts_with("six-")).unwrap()
    };
    assert!(six(&before)["alone"].as_u64().unwrap() > 0, "{before}");
    let kept = &before["environments"][1];
    assert_eq!(kept["alone"], 0, "{before}");
    assert!(
        kept["shared"].as_u64() > Some(0) && before["dead"].as_u64() < before["on_disk"].as_u64()
    );

    instance.ok(&["env", "rm", "all"]);
    let would = instance.json(&["store", "gc", "--dry-run", "--grace", "0", "--json"]);
    assert_eq!(instance.json(&["store", "du", "--json"])["on_disk"], before["on_disk"]);
    let stop = AtomicBool::new(false);
    let folder = site(&instance, "kept");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                drop_caches();
                read_all(&folder).unwrap();
                rounds += 1;
            }
            rounds
        });
        let collected = collect(&instance);
        assert_eq!(collected["distributions"], would["distributions"]);
        assert_eq!(collected["distributions"].as_array().unwrap().len(), 5, "{collected}");
        assert!(collected["segments_rewritten"].as_u64() > Some(0), "{collected}");
        assert!(collected["bytes"].as_u64() > Some(0), "{collected}");
        stop.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    drop_caches();
    read_all(&folder).unwrap();
    let after = instance.json(&["store", "du", "--json"]);
    assert_eq!(names(&after["environments"]), ["kept"]);
    assert!(after["on_disk"].as_u64() < before["on_disk"].as_u64(), "{before} {after}");
    assert_eq!(collect(&instance)["bytes"], 0);
    sound(&instance);
    // What went can come again, and is as new.
    instance.ok(&["env", "add", "again", "idna"]);
    read_all(&site(&instance, "again")).unwrap();
    sound(&instance);
    let segments = std::fs::read_dir(instance.state().join("segments")).unwrap().count();
    assert!(segments < 6, "{segments}");
}

fn what_is_out_of_reach_stays_for_the_grace_period() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "gone", "six"]);
    instance.ok(&["env", "rm", "gone"]);
    let before = instance.json(&["store", "du", "--json"]);
    assert!(before["dead"].as_u64() > Some(0), "{before}");
    let collected = instance.json(&["store", "gc", "--json"]);
    assert_eq!(collected["distributions"], json!([]), "{collected}");
    assert!(collected["waiting"].as_u64() > Some(0), "{collected}");
    assert_eq!(instance.json(&["store", "du", "--json"])["on_disk"], before["on_disk"]);
    // Found again in time, it need not be downloaded.
    instance.ok(&["env", "add", "gone", "six"]);
    assert_eq!(instance.json(&["store", "gc", "--json"])["waiting"], 0);
    sound(&instance);
}

fn a_functions_environment_goes_with_its_last_user() {
    let instance = Instance::start(&Options::default());
    let requirements = instance.scratch().join("requirements.txt");
    std::fs::write(&requirements, "six\n").unwrap();
    let code = "import six\n\ndef handler(event): return six.PY3\n";
    instance.deploy("user", code, &["-r", requirements.to_str().unwrap()]);
    assert_eq!(instance.invoke("user", &json!({}))["result"], true);
    instance.await_zygotes();
    let environments = |collected: &Value| collected["environments"].as_array().unwrap().len();
    assert_eq!(environments(&collect(&instance)), 0);
    assert_eq!(instance.invoke("user", &json!({}))["tier"], "paused");
    instance.ok(&["functions", "rm", "user"]);
    // The name goes; the zygote that lives in it keeps what is behind.
    let collected = collect(&instance);
    assert_eq!(environments(&collected), 1, "{collected}");
    assert_eq!(collected["distributions"], json!([]), "{collected}");
    instance.ok(&["evict"]);
    eventually("the zygote's sandbox is gone", || {
        !collect(&instance)["distributions"].as_array().unwrap().is_empty()
    });
    assert_eq!(instance.status()["environments"], json!([]));
    sound(&instance);
}

/// A bind mount; unmounted when dropped.
struct Bound(std::path::PathBuf);

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Starts a process that reports when it is ready and then waits for a line; returns it and its stdout.
pub(super) fn held(command: &mut Command) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "ready");
    (process, said)
}

fn what_is_mounted_elsewhere_or_mapped_stays() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "bound", "six"]);
    instance.ok(&["env", "add", "mapped", "markupsafe"]);
    let place = instance.scratch().join("place");
    std::fs::create_dir(&place).unwrap();
    let view = instance.mount().join("envs/bound");
    mount(Some(&view), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let bound = Bound(place.clone());
    let mut importing = Command::new(python(&instance, "mapped"));
    importing
        .args(["-c", "import markupsafe._speedups\nprint('ready', flush=True)\ninput()\nimport markupsafe\nprint(markupsafe.escape('<'))"]);
    let (mut process, mut said) = held(&mut importing);
    let files = read_all(&place.join("lib")).unwrap();
    instance.ok(&["env", "rm", "bound"]);
    instance.ok(&["env", "rm", "mapped"]);
    assert_eq!(collect(&instance)["distributions"], json!([]));
    drop_caches();
    assert_eq!(read_all(&place.join("lib")).unwrap(), files);
    process.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "&lt;");
    assert!(process.wait().unwrap().success());
    drop(bound);
    // A mount namespace that was made meanwhile, by whomever, has what was bound for a moment longer.
    let mut collected = Vec::new();
    eventually("what was in use is collected", || {
        collected.extend(names(&collect(&instance)["distributions"]));
        collected.len() >= 3
    });
    assert_eq!(collected.len(), 3, "{collected:?}");
    sound(&instance);
}

fn what_another_namespace_has_of_a_view_stays() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "bound", "six"]);
    instance.ok(&["env", "add", "other", "idna"]);
    let place = instance.scratch().join("place");
    std::fs::create_dir(&place).unwrap();
    // A part of it, seen by nobody else; and a copy of what is on the mount, which is nobody's use.
    let lib = instance.mount().join("envs/bound/lib");
    let script = format!(
        "mount --bind {lib} {place} && echo ready && read line && ls {place}/python3*/site-packages",
        lib = lib.display(),
        place = place.display()
    );
    let mut binding = Command::new("unshare");
    binding.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    let (mut process, mut said) = held(&mut binding);
    let used = instance.status()["containers"]["views"].as_array().unwrap().len();
    assert_eq!(used, 1);
    instance.ok(&["env", "rm", "bound"]);
    instance.ok(&["env", "rm", "other"]);
    let collected = collect(&instance)["distributions"].to_string();
    assert!(collected.contains("idna-") && !collected.contains("six-"), "{collected}");
    process.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(said.any(|line| line.unwrap() == "six.py"));
    assert!(process.wait().unwrap().success());
    assert!(collect(&instance)["distributions"].to_string().contains("six-"));
    sound(&instance);
}

fn what_is_pinned_stays() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "first", "six"]);
    instance.ok(&["store", "pin", "first"]);
    assert_eq!(instance.call(&["store", "pin", "nothing"]).code, 4);
    assert_eq!(instance.call(&["store", "unpin", "nothing"]).code, 4);
    instance.ok(&["env", "rm", "first"]);
    assert_eq!(collect(&instance)["bytes"], 0);
    assert_eq!(instance.json(&["store", "du", "--json"])["pins"], json!(["first"]));
    instance.ok(&["store", "unpin", "first"]);
    assert!(collect(&instance)["bytes"].as_u64() > Some(0));
    assert_eq!(instance.json(&["store", "du", "--json"])["on_disk"], 0);
    sound(&instance);
}

fn a_collection_that_is_killed_takes_nothing_that_is_needed() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "kept", "six"]);
    for round in 0..8_u64 {
        instance.ok(&[
            "env",
            "add",
            "changing",
            if round % 2 == 0 { "idna" } else { "certifi" },
            "six",
        ]);
        instance.ok(&["env", "rm", "changing"]);
        let mut collecting = instance
            .command()
            .args(["store", "gc", "--grace", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut adding = instance
            .command()
            .args(["env", "add", "changing", "idna"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(12 * round));
        let mut footprint = instance.footprint();
        kill_9(&instance.status()["pid"]);
        collecting.wait().unwrap();
        adding.wait().unwrap();
        footprint.groups.clear();
        wait_until_gone(&footprint);
        instance.up();
        sound(&instance);
        drop_caches();
        read_all(&site(&instance, "kept")).unwrap();
    }
    assert_eq!(instance.call(&["store", "scrub"]).code, 0);
}

fn what_a_user_has_named_stays_whatever_the_name() {
    let instance = Instance::start(&Options::default());
    let name = "requirements-0123456789abcdef";
    instance.ok(&["env", "add", name, "six"]);
    // It is on the host as others are.
    let device = |path: &std::path::Path| {
        std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).unwrap())
    };
    let place = instance.mount().join("envs").join(name);
    assert_ne!(device(&place), device(&instance.mount()));
    let collected = collect(&instance);
    assert_eq!((&collected["environments"], &collected["views"]), (&json!([]), &json!(0)));
    instance.ok(&["down"]);
    instance.up();
    assert_eq!(collect(&instance)["environments"], json!([]));
    read_all(&site(&instance, name)).unwrap();

    // Nobody takes another's name.
    let requirements = instance.scratch().join("requirements.txt");
    std::fs::write(&requirements, "idna\n").unwrap();
    let code = "import idna\n\ndef handler(event): return idna.__name__\n";
    instance.deploy("user", code, &["-r", requirements.to_str().unwrap()]);
    assert_eq!(instance.invoke("user", &json!({}))["result"], "idna");
    let listed = instance.json(&["env", "ls", "--json"]);
    let of_function = names(&listed).into_iter().find(|other| other != name).unwrap();
    let refused = instance.call(&["env", "add", &of_function, "six"]);
    assert!(refused.code != 0 && refused.stderr.contains("take another name"), "{refused:?}");
    assert_eq!(instance.invoke("user", &json!({}))["result"], "idna");
    instance.ok(&["evict"]);
    instance.ok(&["env", "rm", &of_function]);
    instance.ok(&["env", "add", &of_function, "six"]);
    let reply = instance.call(&["invoke", "user", "-d", "{}"]);
    assert!(reply.code != 0 && reply.stderr.contains("env rm"), "{reply:?}");
    instance.ok(&["env", "rm", &of_function]);
    assert_eq!(instance.invoke("user", &json!({}))["result"], "idna");
    sound(&instance);
}
