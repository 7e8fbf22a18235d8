//! Views behind overlays, which follow a change of a name.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{Instance, Options, kept_caches, kill_9, wait_until_gone};
use crate::tests;

use super::warm::until_nothing_is_asked;

tests!(
    names_are_shown_through_overlays_that_follow_them,
    pages_are_those_of_every_view_and_sandbox,
    what_overlays_are_made_of_is_not_listed,
);

/// File systems mounted on or below the instance's mount, by path.
fn mounts(instance: &Instance) -> Vec<(PathBuf, String)> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts = text.lines().filter_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let below = Path::new(head.split(' ').nth(4)?).strip_prefix(instance.mount()).ok()?;
        Some((below.to_owned(), tail.split(' ').next()?.to_owned()))
    });
    mounts.collect()
}

/// The named environments, each with the view that it shows; all must be shown through the overlay.
fn hosted(instance: &Instance) -> Vec<(String, String)> {
    let overlay = (PathBuf::from("envs/.views"), "overlay".to_owned());
    assert_eq!(mounts(instance), [(PathBuf::new(), "fuse.pipsqueak".to_owned()), overlay]);
    let envs = instance.mount().join("envs");
    let device = std::fs::metadata(envs.join(".views")).unwrap().dev();
    let entries = std::fs::read_dir(&envs).unwrap().map(|entry| entry.unwrap().path());
    let mut named: Vec<_> = entries
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            !name.starts_with('.') && !name.starts_with("requirements-")
        })
        .map(|path| {
            assert_eq!(std::fs::metadata(&path).unwrap().dev(), device, "{}", path.display());
            let leads = std::fs::read_link(&path).unwrap();
            let view = leads.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), view.to_owned())
        })
        .collect();
    named.sort();
    named
}

fn names_are_shown_through_overlays_that_follow_them() {
    let instance = Instance::start(&Options::default());
    let view = |name: &str| {
        let view = instance.json(&["env", "show", name, "--json"])["view"].clone();
        (name.to_owned(), view.as_str().unwrap().to_owned())
    };
    let site = |name: &str| {
        let site = instance.mount().join(format!("envs/{name}/lib/python3.11/site-packages"));
        let entries = std::fs::read_dir(site).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.contains('-') && name != "__pycache__");
        names.sort();
        names
    };
    instance.ok(&["env", "add", "one", "six"]);
    instance.ok(&["env", "add", "two", "idna"]);
    assert_eq!(hosted(&instance), [view("one"), view("two")]);
    // As is what functions have by their requirements alone.
    let requirements = instance.scratch().join("requirements.txt");
    std::fs::write(&requirements, "six\n").unwrap();
    let code = "import six\n\ndef handler(event): return six.PY3\n";
    instance.deploy("user", code, &["-r", requirements.to_str().unwrap()]);
    assert_eq!(instance.invoke("user", &json!({}))["result"], true);
    assert_eq!(hosted(&instance), [view("one"), view("two")]);

    // Another view under the same name; whoever is in the first stays there.
    let open = std::fs::File::open(instance.mount().join("envs/one")).unwrap();
    let before = view("one");
    instance.ok(&["env", "add", "one", "six", "certifi"]);
    assert_ne!(view("one"), before);
    assert_eq!(hosted(&instance), [view("one"), view("two")]);
    assert_eq!(site("one"), ["certifi", "six.py"]);
    let kept = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
    assert!(std::fs::metadata(format!("{kept}/lib/python3.11/site-packages/six.py")).is_ok());
    assert!(std::fs::metadata(format!("{kept}/lib/python3.11/site-packages/certifi")).is_err());
    // The same view again is published again, and shown again.
    instance.ok(&["env", "add", "one", "six", "certifi"]);
    assert_eq!(hosted(&instance), [view("one"), view("two")]);
    drop(open);
    instance.ok(&["env", "rm", "two"]);
    assert_eq!(hosted(&instance), [view("one")]);
    assert!(!instance.mount().join("envs/two").exists());

    // After a succession, a kill of the supervisor, and an orderly end.
    kill_9(&instance.status()["mount"]["pid"]);
    instance.ok(&["env", "add", "two", "idna"]);
    assert_eq!(hosted(&instance), [view("one"), view("two")]);
    let mut footprint = instance.footprint();
    kill_9(&instance.status()["pid"]);
    footprint.groups.clear();
    wait_until_gone(&footprint);
    instance.up();
    assert_eq!(hosted(&instance), [view("one"), view("two")]);
    assert_eq!(
        (site("one"), site("two")),
        (vec!["certifi".into(), "six.py".into()], vec!["idna".into()])
    );
    instance.ok(&["down"]);
    assert_eq!(mounts(&instance), []);
    instance.up();
    assert_eq!(hosted(&instance), [view("one"), view("two")]);
}

fn pages_are_those_of_every_view_and_sandbox() {
    let instance = Instance::start(&Options { tiers: Some("ssd"), ..Options::default() });
    instance.ok(&["env", "add", "one", "pandas"]);
    instance.ok(&["env", "add", "two", "pandas", "six"]);
    let code = "import pandas\n\ndef handler(event): return len(pandas.__name__)\n";
    instance.deploy("in_one", code, &["--env", "one"]);
    instance.deploy("in_two", code, &["--env", "two"]);
    let import = |name: &str| {
        let python = instance.mount().join("envs").join(name).join("bin/python");
        let done = Command::new(python).args(["-c", "import pandas"]).status().unwrap();
        assert!(done.success());
    };
    let requests = || instance.status()["mount"]["requests"].clone();
    let invoke = |function: &str| {
        let answer = instance.invoke(function, &json!({}));
        assert_eq!((&answer["result"], &answer["tier"]), (&json!(6), &json!("ssd")), "{answer}");
    };
    let _caches = kept_caches();
    import("one");
    let read = requests()["read-bytes"].as_u64().unwrap();
    assert!(read > 10 << 20, "{read}");
    import("two");
    invoke("in_one");
    invoke("in_two");
    // A mapped page here and there that the first had no use for.
    let more = requests()["read-bytes"].as_u64().unwrap() - read;
    assert!(more * 20 < read, "{read} bytes by the first, {more} by the others");
    // Nothing at all is asked by those who come later, neither on the host nor in a sandbox.
    until_nothing_is_asked(&instance, || {
        invoke("in_one");
        import("two");
        invoke("in_two");
    });
    let file = "lib/python3.11/site-packages/pandas/core/frame.py";
    let metadata = |name: &str| {
        std::fs::metadata(instance.mount().join("envs").join(name).join(file)).unwrap()
    };
    let (one, two) = (metadata("one"), metadata("two"));
    assert_eq!(one.ino(), two.ino(), "the content's number, whatever the view");
    assert_eq!(one.dev(), two.dev(), "all views are of one overlay");
}

fn what_overlays_are_made_of_is_not_listed() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "one", "six"]);
    let entries = std::fs::read_dir(instance.mount()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["dists", "envs"]);
    // Names only.
    let folders = ["dists", "envs"].map(|folder| instance.mount().join(folder));
    for entry in folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        assert!(path.is_symlink() && path.is_dir(), "{}", path.display());
    }
    for folder in [".empty", ".views", "envs/.views"] {
        let folder = instance.mount().join(folder);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        assert!(!folder.join("lib").exists() && std::fs::create_dir(folder.join("lib")).is_err());
    }
}
