//! Damage on disk: the reader gets an error, and the damage is reported and repaired.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{read_all, site};
use crate::harness::{Index, Instance, Options, drop_caches, eventually, kill_9, write};
use crate::tests;

tests!(
    a_damaged_segment_is_an_error_to_its_readers_and_repaired,
    a_damaged_index_is_repaired,
    a_damaged_list_of_names_is_repaired,
    a_damaged_catalog_is_told,
    what_has_some_of_a_locks_wheels_is_sound_and_repaired,
);

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

/// The largest file of an extension in a folder of the state.
fn largest(instance: &Instance, folder: &str, extension: &str) -> PathBuf {
    let entries = std::fs::read_dir(instance.state().join(folder)).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap()
}

fn findings(instance: &Instance, verb: &str) -> Vec<Value> {
    let output = instance.call(&["store", verb, "--json"]);
    let answer: Value = serde_json::from_str(&output.stdout).unwrap();
    let findings = answer["findings"].as_array().unwrap().clone();
    assert_eq!(output.code, i32::from(!findings.is_empty()), "{output:?}");
    findings
}

fn restart_the_mounts_server(instance: &Instance) {
    let before = instance.status()["mount"]["successions"].as_u64().unwrap();
    kill_9(&instance.status()["mount"]["pid"]);
    eventually("a successor serves", || {
        instance.status()["mount"]["successions"].as_u64() > Some(before)
    });
}

fn a_damaged_segment_is_an_error_to_its_readers_and_repaired() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "science", "requests"]);
    let folder = site(&instance, "science");
    let files = read_all(&folder).unwrap();
    let host = instance.mount().join("envs/science");
    instance.ok(&["env", "docker-args", "science"]);
    let view = instance.json(&["env", "show", "science", "--json"])["view"].clone();
    let export = instance.run().join("exports").join(view.as_str().unwrap()).join("env");
    let device = |path: &Path| path.metadata().unwrap().dev();
    let before = device(&host);
    assert_eq!(device(&export), before, "one overlay");
    // A container, as far as mounts go.
    let mut container = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "slave",
            "sh",
            "-c",
            "echo; read line; stat -c %d $0/lib",
        ])
        .arg(&export)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    container.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let segment = largest(&instance, "segments", "segment");
    let length = segment.metadata().unwrap().len();
    for at in (1000..length - 1000).step_by(20_000) {
        flip(&segment, at);
    }
    restart_the_mounts_server(&instance);
    drop_caches();
    let error = read_all(&folder).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EIO), "{error}");
    assert!(instance.status()["damaged"].as_u64() > Some(0));
    assert!(!findings(&instance, "fsck").is_empty());
    assert!(findings(&instance, "scrub").len() > 10);
    let repaired = instance.json(&["store", "repair", "--json"]);
    assert!(repaired["objects"].as_u64() > Some(10), "{repaired}");
    assert_eq!(instance.status()["damaged"], 0);
    assert_eq!(read_all(&folder).unwrap(), files);
    assert_eq!(read_all(&export.join("lib")).unwrap(), read_all(&host.join("lib")).unwrap());
    // Overlays remember what was below them, so others have taken their place, in containers too.
    let after = device(&host);
    assert!(after != before && device(&export) == after);
    container.stdin.take().unwrap().write_all(b"\n").unwrap();
    let said = container.wait_with_output().unwrap().stdout;
    assert_eq!(String::from_utf8(said).unwrap().trim(), after.to_string());
    assert_eq!(instance.status()["containers"]["views"], serde_json::json!([]));
    assert!(findings(&instance, "fsck").is_empty());
    assert!(findings(&instance, "scrub").is_empty());
    // As it would be read by the next.
    restart_the_mounts_server(&instance);
    drop_caches();
    assert_eq!(read_all(&folder).unwrap(), files);
}

fn a_damaged_index_is_repaired() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "science", "six"]);
    let folder = site(&instance, "science");
    let files = read_all(&folder).unwrap();
    instance.ok(&["down"]);
    flip(&largest(&instance, "views", "index"), 700);
    instance.up();
    let error = std::fs::metadata(instance.mount().join("envs/science")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EIO), "{error}");
    assert_eq!(findings(&instance, "fsck").len(), 1);
    instance.ok(&["store", "repair"]);
    assert!(findings(&instance, "fsck").is_empty());
    assert_eq!(read_all(&folder).unwrap(), files);
}

fn a_damaged_list_of_names_is_repaired() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "science", "six"]);
    let packages = File::open(site(&instance, "science")).unwrap();
    let packages = PathBuf::from(format!("/proc/self/fd/{}", packages.as_raw_fd()));
    read_all(&packages).unwrap();
    flip(&instance.state().join("views/published.json"), 40);
    assert_eq!(findings(&instance, "fsck").len(), 1);
    restart_the_mounts_server(&instance);
    // A name that the kernel does not know yet: it cannot be said that there is none.
    let error = std::fs::metadata(instance.mount().join("envs/other")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EIO), "{error}");
    // Whoever is in an environment goes on, with what else the kernel may have forgotten.
    drop_caches();
    read_all(&packages).unwrap();
    instance.ok(&["store", "repair"]);
    assert!(findings(&instance, "fsck").is_empty());
    let error = std::fs::metadata(instance.mount().join("envs/other")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    drop_caches();
    read_all(&site(&instance, "science")).unwrap();
}

fn a_damaged_catalog_is_told() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "science", "six"]);
    instance.ok(&["down"]);
    let catalog = instance.state().join("catalog.sqlite");
    let whole = std::fs::read(&catalog).unwrap();
    // The name of a file of six's, wherever it stands, and the beginning of the file.
    let at = whole.windows(18).position(|part| part == b"site-packages/six.").unwrap() as u64;
    flip(&catalog, at + 14);
    instance.up();
    let found = findings(&instance, "fsck");
    assert!(found.iter().any(|one| one["file"].as_str() == catalog.to_str()), "{found:?}");
    instance.ok(&["down"]);
    std::fs::write(&catalog, &whole).unwrap();
    flip(&catalog, 3);
    let output = instance.call(&["up"]);
    assert_eq!(output.code, 70, "{output:?}");
    assert!(output.stderr.contains("catalog.sqlite"), "{output:?}");
    std::fs::write(&catalog, &whole).unwrap();
    instance.up();
    assert!(findings(&instance, "fsck").is_empty());
}

/// Writes a wheel of a module that holds the wheel's file name.
const ONE_OF_TWO: &str = "
import pathlib, sys, zipfile
path = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(path, 'w') as wheel:
    info = 'two-1.0.dist-info/'
    wheel.writestr('two.py', f'name = {path.name!r}')
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: two\\nVersion: 1.0\\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    record = ''.join(f'{name},,\\n' for name in wheel.namelist())
    wheel.writestr(info + 'RECORD', record + info + 'RECORD,,\\n')
";

fn what_has_some_of_a_locks_wheels_is_sound_and_repaired() {
    let index = Index::start(&[], &[], None);
    let wheels = ["two-1.0-py3-none-any.whl", "two-1.0-py3-none-linux_x86_64.whl"];
    for wheel in wheels {
        index.add(wheel, ONE_OF_TWO);
    }
    let variables = vec![("UV_DEFAULT_INDEX", index.url(""))];
    let instance = Instance::start(&Options { variables, ..Options::default() });
    // Not the one that would be taken otherwise.
    let asked = format!("two==1.0 --hash=sha256:{}\n", index.sha256(wheels[0]));
    let file = write(&instance.scratch(), "asked.txt", &asked);
    instance.ok(&["env", "add", "held", "-r", file.to_str().unwrap()]);
    let module = site(&instance, "held").join("two.py");
    assert!(std::fs::read_to_string(&module).unwrap().contains(wheels[0]));
    assert_eq!(findings(&instance, "fsck"), [] as [Value; 0]);
    instance.ok(&["down"]);
    std::fs::remove_file(largest(&instance, "segments", "segment")).unwrap();
    instance.up();
    instance.ok(&["store", "repair"]);
    assert_eq!(findings(&instance, "fsck"), [] as [Value; 0]);
    assert!(std::fs::read_to_string(&module).unwrap().contains(wheels[0]));
}
