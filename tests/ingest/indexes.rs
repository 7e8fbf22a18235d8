//! Locks of packages from several indexes, one of which has packages of the other, too.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Index, Instance, Options, folder, write};
use crate::tests;

tests!(
    each_package_of_a_lock_comes_from_its_own_address,
    what_another_index_has_too_is_told_by_its_digest,
    a_digest_is_held_to_however_it_is_written,
    a_lock_of_groups_has_those_that_it_has_by_default,
    a_lock_is_repaired_from_its_addresses,
);

/// Serves wheels of one module each, by name, version and the text that the module holds.
fn index(wheels: &[(&str, &str, &str)]) -> Index {
    let index = Index::start(&[], &[], None);
    for (name, version, says) in wheels {
        let (path, code) = (format!("{name}.py"), format!("from_index = '{says}'\n"));
        index.add_wheels(&[(name, version, vec![(&path, code.as_bytes())])]);
    }
    index
}

/// An index like PyPI, and one of special builds. The second has packages of the first, in other
/// versions and in the same version with other bytes.
fn two() -> (Index, Index) {
    let main = [("common", "2.0", "main"), ("shared", "1.0", "main"), ("plain", "1.0", "main")];
    let second = [
        ("special", "1.0", "second"),
        ("common", "1.0", "second"),
        ("shared", "1.0", "second"),
        ("shared", "9.0", "second"),
    ];
    (index(&main), index(&second))
}

fn start(main: &Index) -> Instance {
    let variables = vec![("UV_DEFAULT_INDEX", main.url(""))];
    Instance::start(&Options { variables, ..Options::default() })
}

/// The texts of the modules of an environment, in the order of their names.
fn said(instance: &Instance, environment: &str) -> String {
    let python = instance.mount().join("envs").join(environment).join("bin/python");
    let code = "import common, plain, shared, special\n\
                print(*(m.from_index for m in (common, plain, shared, special)))";
    let output = Command::new(python).args(["-c", code]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A wheel's name, and its table in a lock.
fn locked(index: &Index, name: &str, version: &str, says_index: bool) -> String {
    let file = format!("{name}-{version}-py3-none-any.whl");
    let (url, hash) = (index.archive_url(&file), index.sha256(&file));
    let said = if says_index { format!("index = '{}'\n", index.url("")) } else { String::new() };
    format!(
        "[[packages]]\nname = '{name}'\nversion = '{version}'\n{said}\
         wheels = [{{ url = '{url}', hashes = {{ sha256 = '{hash}' }} }}]\n"
    )
}

fn lock(main: &Index, second: &Index, shared: &Index, says_index: bool) -> String {
    let packages = [
        locked(main, "common", "2.0", says_index),
        locked(main, "plain", "1.0", says_index),
        locked(shared, "shared", "1.0", says_index),
        locked(second, "special", "1.0", says_index),
    ];
    format!("lock-version = '1.0'\ncreated-by = 'a test'\n{}", packages.concat())
}

/// A lock that uv makes for a project whose `special` comes only from the second index.
fn exported(folder: &Path, main: &Index, second: &Index) -> PathBuf {
    let project = format!(
        "[project]\nname = 'app'\nversion = '1'\nrequires-python = '>=3.9'\n\
         dependencies = ['common', 'plain', 'shared', 'special']\n\
         [tool.uv.sources]\nspecial = {{ index = 'second' }}\n\
         [[tool.uv.index]]\nname = 'second'\nurl = '{}'\nexplicit = true\n",
        second.url("")
    );
    write(folder, "pyproject.toml", &project);
    let uv = std::env::var_os("PIPSQUEAK_UV").unwrap_or_else(|| "uv".into());
    let output = Command::new(uv)
        .args(["export", "--quiet", "--no-emit-project", "--format", "pylock.toml"])
        .args(["--output-file", "pylock.toml", "--cache-dir", "cache"])
        .env("UV_DEFAULT_INDEX", main.url(""))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    folder.join("pylock.toml")
}

fn each_package_of_a_lock_comes_from_its_own_address() {
    let (main, second) = two();
    let instance = start(&main);
    let add = |name: &str, file: &Path| {
        instance.ok(&["env", "add", name, "-r", file.to_str().unwrap()]);
        said(&instance, name)
    };
    for says_index in [true, false] {
        let name = format!("lock-{says_index}");
        let text = lock(&main, &second, &main, says_index);
        let file = write(&instance.scratch(), "pylock.toml", &text);
        assert_eq!(add(&name, &file), "main main main second");
        // The other of the same name and version, although the first is stored.
        let text = lock(&main, &second, &second, says_index);
        let file = write(&instance.scratch(), "pylock.toml", &text);
        assert_eq!(add(&name, &file), "main main second second");
    }
    let project = folder();
    let exported = exported(project.path(), &main, &second);
    assert_eq!(add("exported", &exported), "main main main second");

    // An index of the machine's own hides nothing that a lock has from elsewhere.
    let variables = vec![("UV_DEFAULT_INDEX", main.url("")), ("UV_INDEX", second.url(""))];
    let other = Instance::start(&Options { variables, ..Options::default() });
    other.ok(&["env", "add", "exported", "-r", exported.to_str().unwrap()]);
    assert_eq!(said(&other, "exported"), "main main main second");

    // What is at the address is held to the lock's digest.
    let text = lock(&main, &second, &main, true);
    let false_digest = text.replace(&main.sha256("shared-1.0-py3-none-any.whl"), &"0".repeat(64));
    let file = write(&instance.scratch(), "pylock.toml", &false_digest);
    let output = instance.call(&["env", "add", "false", "-r", file.to_str().unwrap()]);
    assert!(output.code == 2 && output.stderr.contains("shared"), "{output:?}");
    // An address with a password would be stored.
    let secret = text.replace("http://127", "http://me:hunter2@127");
    let file = write(&instance.scratch(), "pylock.toml", &secret);
    let output = instance.call(&["env", "add", "secret", "-r", file.to_str().unwrap()]);
    assert!(output.code == 2 && !output.stderr.contains("hunter2"), "{output:?}");
}

fn what_another_index_has_too_is_told_by_its_digest() {
    let (main, second) = two();
    let instance = start(&main);
    let line = |index: &Index, name: &str, version: &str| {
        let hash = index.sha256(&format!("{name}-{version}-py3-none-any.whl"));
        format!("{name}=={version} --hash=sha256:{hash}\n")
    };
    let add = |name: &str, shared: &Index| {
        let text = [
            format!("--extra-index-url {}\n", second.url("")),
            line(&main, "common", "2.0"),
            line(&main, "plain", "1.0"),
            line(shared, "shared", "1.0"),
            line(&second, "special", "1.0"),
        ];
        let file = write(&instance.scratch(), "hashed.txt", &text.concat());
        instance.ok(&["env", "add", name, "-r", file.to_str().unwrap()]);
        said(&instance, name)
    };
    assert_eq!(add("second", &second), "main main second second");
    // The one that is not found first.
    assert_eq!(add("main", &main), "main main main second");
    instance.ok(&["down"]);
    for segment in std::fs::read_dir(instance.state().join("segments")).unwrap() {
        std::fs::remove_file(segment.unwrap().path()).unwrap();
    }
    instance.up();
    instance.ok(&["store", "repair"]);
    assert_eq!(said(&instance, "main"), "main main main second");
    assert_eq!(said(&instance, "second"), "main main second second");
    instance.ok(&["store", "fsck"]);
}

fn a_digest_is_held_to_however_it_is_written() {
    let main = index(&[("plain", "1.0", "main")]);
    let instance = start(&main);
    let wheel = "plain-1.0-py3-none-any.whl";
    let (url, right) = (main.archive_url(wheel), main.sha256(wheel));
    for (number, line) in [
        "plain==1.0 --hash=sha256:HASH",
        "plain==1.0 --hash sha256:HASH",
        "plain==1.0 \\\n    --hash \\\n    sha256:HASH",
        "plain @ URL --hash=sha256:HASH",
        "URL --hash=sha256:HASH",
        "URL --hash sha256:HASH",
        "URL#sha256=HASH",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("plain{number}");
        let add = |hash: &str| {
            let text = line.replace("URL", &url).replace("HASH", hash) + "\n";
            let file = write(&instance.scratch(), "hashed.txt", &text);
            instance.call(&["env", "add", &name, "-r", file.to_str().unwrap()])
        };
        let output = add(&"0".repeat(64));
        assert!(output.code == 2 && output.stderr.contains("plain"), "{line}: {output:?}");
        let output = add(&right);
        assert_eq!(output.code, 0, "{line}: {output:?}");
    }
}

/// A lock as some tools write it, with a group for everything that belongs to no other.
fn a_lock_of_groups_has_those_that_it_has_by_default() {
    let main = index(&[("common", "1.0", "main"), ("plain", "1.0", "main")]);
    let instance = start(&main);
    let marked = |name: &str, marker: &str| {
        locked(&main, name, "1.0", false)
            .replace("wheels", &format!("marker = \"{marker}\"\nwheels"))
    };
    let text = [
        "lock-version = '1.0'\ncreated-by = 'a test'\ndefault-groups = ['default']\n".to_owned(),
        marked("common", "'default' in dependency_groups"),
        marked("plain", "'dev' in dependency_groups"),
    ];
    let file = write(&instance.scratch(), "pylock.toml", &text.concat());
    instance.ok(&["env", "add", "grouped", "-r", file.to_str().unwrap()]);
    assert_eq!(instance.ok(&["env", "freeze", "grouped"]).trim(), "common==1.0");
}

fn a_lock_is_repaired_from_its_addresses() {
    let (main, second) = two();
    let instance = start(&main);
    let text = lock(&main, &second, &second, false);
    let file = write(&instance.scratch(), "pylock.toml", &text);
    instance.ok(&["env", "add", "locked", "-r", file.to_str().unwrap()]);
    instance.ok(&["down"]);
    let segments = std::fs::read_dir(instance.state().join("segments")).unwrap();
    for segment in segments {
        std::fs::remove_file(segment.unwrap().path()).unwrap();
    }
    instance.up();
    instance.ok(&["store", "repair"]);
    assert_eq!(said(&instance, "locked"), "main main second second");
    instance.ok(&["store", "fsck"]);
}
