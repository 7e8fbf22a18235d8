use pipsqueak::wire::AsyncPolicy;

use super::*;
use crate::sealed::SealedError;

const PAYLOADS: Payloads = Payloads { into: 10, out: 20 };

fn open(folder: PathBuf) -> Result<Functions, FunctionsError> {
    Functions::open(folder, PAYLOADS, Arc::default())
}

fn wanted(name: &str, source: &Path) -> Deploy {
    Deploy {
        name: name.to_owned(),
        source: source.to_owned(),
        handler: None,
        environment: None,
        requirements: None,
        memory: None,
        cpu_millis: None,
        tmp: None,
        timeout_ms: None,
        concurrency: None,
        sandboxes: None,
        payload: None,
        network: Network::None,
        tenant: None,
        variables: BTreeMap::new(),
        schedules: Vec::new(),
        asynchronous: AsyncPolicy::default(),
    }
}

#[test]
fn functions_outlive_the_table_and_count_their_versions() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("hello.py");
    fs::write(&source, "def handler(event): return 1\n").unwrap();
    let state = folder.path().join("functions");
    let functions = open(state.clone()).unwrap();
    functions.deploy(wanted("hello", &source)).unwrap();
    let second = functions.deploy(wanted("hello", &source)).unwrap();
    assert_eq!((second.info.version, second.info.handler.as_str()), (2, "hello.handler"));

    let functions = open(state.clone()).unwrap();
    let found = functions.get("hello").unwrap();
    assert_eq!(found.info.version, 2);
    assert!(found.code.join("hello.py").exists());
    assert!(!state.join("hello/code-1").exists());
    drop(found);
    drop(functions.remove("hello").unwrap());
    assert!(!state.join("hello").exists());
    assert!(open(state).unwrap().list().is_empty());
}

#[test]
fn what_was_deployed_when_concurrency_meant_sandboxes_has_as_many() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("hello.py");
    fs::write(&source, "def handler(event): return 1\n").unwrap();
    let state = folder.path().join("functions");
    open(state.clone()).unwrap().deploy(wanted("hello", &source)).unwrap();
    let record = state.join("hello/function.json");
    let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    assert_eq!((old["concurrency"].as_u64(), old["sandboxes"].as_u64()), (Some(1), Some(8)));
    for added in ["sandboxes", "payload_in", "payload_out"] {
        old.as_object_mut().unwrap().remove(added);
    }
    old["concurrency"] = 3.into();
    fs::write(&record, old.to_string()).unwrap();
    let found = open(state).unwrap().get("hello").unwrap();
    assert_eq!((found.info.concurrency, found.info.sandboxes), (1, 3));
    assert_eq!((found.info.payload_in, found.info.payload_out), (Some(10), Some(20)));
}

#[test]
fn code_stays_as_long_as_somebody_runs_it() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("hello.py");
    fs::write(&source, "def handler(event): return 1\n").unwrap();
    let state = folder.path().join("functions");
    let functions = open(state.clone()).unwrap();
    let deploy = || functions.deploy(wanted("hello", &source)).unwrap();
    let first = deploy();
    drop(deploy());
    assert!(first.code.join("hello.py").exists());
    drop(first);
    assert!(!state.join("hello/code-1").exists());
    let removed = functions.remove("hello").unwrap();
    assert!(removed.code.join("hello.py").exists());
    // A new function of the same name shares nothing with the removed one.
    let again = deploy();
    assert_eq!(again.info.version, 3);
    drop(removed);
    assert!(!state.join("hello/code-2").exists());
    assert!(again.code.join("hello.py").exists());
}

/// A folder with code: a module with a handler, and a file in a folder below.
fn package(folder: &Path, text: &str) -> PathBuf {
    let source = folder.join("source");
    fs::create_dir_all(source.join("inner")).unwrap();
    fs::write(source.join("main.py"), "def handler(event): return 1\n").unwrap();
    fs::write(source.join("inner/data"), text).unwrap();
    source
}

#[test]
fn all_code_is_durable_before_the_record_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let source = package(folder.path(), "one");
    let state = folder.path().join("functions");
    let functions = open(state.clone()).unwrap();
    let (deployed, steps) =
        durable::of(None, || functions.deploy(wanted("hello", &source)).unwrap());
    let record = ("replace", state.join("hello/function.json"));
    let named = steps.iter().position(|step| *step == record).unwrap();
    // First the code in its staging folder, then the folders above its final one.
    let staged = state.with_file_name("deploying").join("0");
    let below = ["main.py", "inner/data", "inner"].map(|name| staged.join(name));
    let all = below.into_iter().chain([staged, state.join("hello"), state]);
    let synced = all.map(|path| {
        let at = steps.iter().position(|step| *step == ("sync", path.clone()));
        at.unwrap_or_else(|| panic!("{}: {steps:?}", path.display()))
    });
    let synced: Vec<_> = synced.collect();
    assert!(synced.iter().all(|at| *at < named), "{steps:?}");
    assert!(synced[..4].iter().all(|at| *at < synced[4]), "{steps:?}");
    assert_eq!(fs::read_to_string(deployed.code.join("inner/data")).unwrap(), "one");
}

#[test]
fn a_disk_that_fails_at_any_step_leaves_the_old_version_or_the_new_one() {
    let mut fails = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let staging = folder.path().join("deploying");
        let source = package(folder.path(), "old");
        let state = folder.path().join("functions");
        let functions = open(state.clone()).unwrap();
        functions.deploy(wanted("hello", &source)).unwrap();
        package(folder.path(), "new");
        let (deployed, steps) =
            durable::of(Some(fails), || functions.deploy(wanted("hello", &source)));
        let has_failed = steps.len() > fails;
        assert_eq!(deployed.is_err(), has_failed, "{steps:?}");
        drop(deployed);
        assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
        let is = |functions: &Functions| {
            let found = functions.get("hello").unwrap();
            let data = fs::read_to_string(found.code.join("inner/data")).unwrap();
            assert_eq!(data, if found.info.version == 1 { "old" } else { "new" });
            found.info.version
        };
        let version = is(&functions);
        // Both stay if a loss of power may have brought back either.
        assert!(!has_failed || state.join("hello/code-1").exists());
        assert_eq!(is(&open(state).unwrap()), version);
        if !has_failed {
            return;
        }
        fails += 1;
    }
}

#[test]
fn each_key_takes_records_over_and_a_disk_that_fails_loses_none() {
    const ONE: &[u8] = b"one key of at least 32 random bytes";
    const TWO: &[u8] = b"two key of at least 32 random bytes";
    let folder = tempfile::tempdir().unwrap();
    let source = package(folder.path(), "one");
    let state = folder.path().join("functions");
    let variables = [("TOKEN".to_owned(), "hunter2".to_owned())].into();
    open(state.clone()).unwrap().deploy(Deploy { variables, ..wanted("hello", &source) }).unwrap();
    let record = state.join("hello/function.json");
    let stored = || fs::read(&record).unwrap();
    let open = |keys: Keys| Functions::open(state.clone(), PAYLOADS, Arc::new(keys));
    for (current, old) in [(Some(ONE), None), (Some(TWO), Some(ONE)), (None, Some(TWO))] {
        let keys = || Keys::of(current, old.as_slice());
        let before = stored();
        for fails in [Some(0), Some(1), None] {
            fs::write(&record, &before).unwrap();
            let cut_off = record.with_extension("new");
            fs::write(&cut_off, "hunter2").unwrap();
            let (opened, steps) = durable::of(fails, || open(keys()));
            assert_eq!((opened.is_err(), cut_off.exists()), (fails.is_some(), false), "{steps:?}");
            let opened = open(keys()).unwrap();
            assert_eq!(opened.get("hello").unwrap().info.variables["TOKEN"], "hunter2");
        }
        let after = stored();
        assert_eq!(after.windows(7).any(|part| part == b"hunter2"), current.is_none());
        // Nothing is written that has not changed.
        open(keys()).unwrap();
        assert_eq!(stored(), after);
        if current.is_some() {
            let error = open(Keys::default()).unwrap_err();
            assert!(matches!(error, FunctionsError::Sealed(SealedError::Unknown { .. })));
            assert_eq!(stored(), after);
        }
    }
}

#[test]
fn a_failed_deployment_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("hello.py");
    fs::write(&source, "def nothing(): ...\n").unwrap();
    let state = folder.path().join("functions");
    let functions = open(state.clone()).unwrap();
    assert!(functions.deploy(wanted("hello", &source)).is_err());
    assert!(!state.join("hello").exists());
    fs::write(&source, "def handler(event): return 1\n").unwrap();
    functions.deploy(wanted("hello", &source)).unwrap();
    fs::write(&source, "def nothing(): ...\n").unwrap();
    assert!(functions.deploy(wanted("hello", &source)).is_err());
    assert_eq!(open(state).unwrap().get("hello").unwrap().info.version, 1);
}
