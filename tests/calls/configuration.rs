//! `pipsqueak config`: the settings in force, their sources, and errors.

use std::fs;

use crate::harness::{Instance, Options, Output, folder};
use crate::tests;

tests!(what_is_in_force_is_told_with_its_origin, what_is_wrong_is_told_with_its_line);

fn line<'a>(output: &'a Output, key: &str) -> &'a str {
    let mut lines = output.stdout.lines();
    lines.find(|line| line.starts_with(&format!("{key} "))).unwrap_or_else(|| panic!("{output:?}"))
}

fn what_is_in_force_is_told_with_its_origin() {
    let folder = folder();
    let path = folder.path().join("config.toml");
    let said = "# mine\nmemory = \"1G\"\nqueue = 7\n[index]\n\
                extra = [\"https://me:hunter2@127.0.0.1:1/simple\"]\n";
    fs::write(&path, said).unwrap();
    let variables = vec![
        ("PIPSQUEAK_CONFIG", path.display().to_string()),
        ("PIPSQUEAK_SPARES", "3".to_owned()),
    ];
    let instance = Instance::start(&Options { variables, ..Options::default() });
    let told = instance.call(&["config", "show", "--grace", "7"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
    let of_file = |line: usize| format!("# {}:{line}", path.display());
    assert!(line(&told, "memory").starts_with("memory = 1073741824 "), "{told:?}");
    assert!(line(&told, "memory").ends_with(&of_file(2)), "{told:?}");
    assert!(line(&told, "queue").ends_with(&of_file(3)), "{told:?}");
    assert!(line(&told, "index.extra").ends_with(&of_file(5)), "{told:?}");
    assert!(line(&told, "spares").ends_with("# PIPSQUEAK_SPARES"), "{told:?}");
    assert!(line(&told, "linger").ends_with("# default"), "{told:?}");
    let grace = line(&told, "grace");
    assert!(grace.ends_with("# --grace; the running supervisor has 300"), "{told:?}");
    // What is changed is not in force before the next start.
    fs::write(&path, said.replace("queue = 7", "queue = 8")).unwrap();
    let all = instance.json(&["config", "show", "--json"]);
    let page = include_str!("../../docs/src/reference/settings.md");
    for setting in all.as_array().unwrap() {
        let key = setting["key"].as_str().unwrap();
        assert!(page.contains(&format!("`{key}`")), "the page of settings does not say {key}");
    }
    let queue = all.as_array().unwrap().iter().find(|one| one["key"] == "queue").unwrap();
    assert_eq!((&queue["value"], &queue["running"]), (&"8".into(), &"7".into()), "{queue}");
}

fn what_is_wrong_is_told_with_its_line() {
    let instance = crate::harness::shared();
    let folder = folder();
    let path = folder.path().join("config.toml");
    let check = || instance.call(&["config", "check", path.to_str().unwrap()]);
    assert_eq!(check().code, 2);
    fs::write(&path, "grace = 1\n").unwrap();
    assert_eq!(check().code, 0);
    for (text, says) in [
        ("grace = 1\nmemorie = 7\n", ":2: unknown field `memorie`"),
        ("\n\nsandboxes = 0\n", ":3: `0` is no number of sandboxes"),
        ("uv = \"/nowhere/uv\"\n", "uv: /nowhere/uv: No such file"),
    ] {
        fs::write(&path, text).unwrap();
        let output = check();
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains(says), "{output:?}");
    }
}
