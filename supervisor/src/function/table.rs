//! Which functions there are, on disk and in memory.
//!
//! ```text
//! STATE/functions/NAME/function.json   what was deployed last, replaced by rename
//! STATE/functions/NAME/code-VERSION/   its code, read-only for sandboxes; that of an older version as
//!                                      long as calls of it run
//! STATE/deploying/                     code that is being copied
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pipsqueak::wire::{Deploy, FunctionInfo, HIDDEN_VALUE, Network};

use super::code::Code;
use super::durable;
use super::error::{FunctionsError, at};
use super::staged::{DEFAULT_CONCURRENCY, Staged, Staging};
use super::trust::Trust;
use super::variables::Variables;
use crate::events::next_run;
use crate::wall_clock;

/// A deployed function.
#[derive(Debug)]
pub struct Function {
    /// What was deployed.
    pub info: FunctionInfo,
    /// Its code on the host.
    pub code: Code,
    /// How it has loaded.
    pub trust: Trust,
    /// The variables of its processes.
    pub variables: Variables,
    /// The name of its environment, once somebody has asked for that.
    pub(crate) environment_name: OnceLock<String>,
}

impl Function {
    /// Whether its sandboxes have a network namespace of their own.
    pub fn own_network(&self) -> bool {
        self.info.network != Network::Host
    }

    /// What was deployed, without the values of its variables, and when it runs next by itself.
    pub fn shown(&self) -> FunctionInfo {
        let next = next_run(&self.info.schedules, wall_clock::now());
        let mut shown = self.info.clone();
        shown.variables.values_mut().for_each(|value| HIDDEN_VALUE.clone_into(value));
        FunctionInfo { next_run: next.map(wall_clock::in_seconds), ..shown }
    }

    fn new(mut info: FunctionInfo, code: Code, payloads: Payloads) -> Self {
        info.payload_in.get_or_insert(payloads.into);
        info.payload_out.get_or_insert(payloads.out);
        if info.sandboxes == 0 {
            info.sandboxes = std::mem::replace(&mut info.concurrency, DEFAULT_CONCURRENCY);
        }
        let variables = Variables::of(&info);
        let (trust, environment_name) = (Trust::default(), OnceLock::new());
        Self { info, code, trust, variables, environment_name }
    }
}

/// Longest events and results of functions that were deployed without a limit of their own, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Payloads {
    /// Of events.
    pub into: u64,
    /// Of results.
    pub out: u64,
}

/// All functions.
#[derive(Debug)]
pub struct Functions {
    folder: PathBuf,
    staging: Staging,
    payloads: Payloads,
    deployed: Mutex<BTreeMap<String, Arc<Function>>>,
    /// One change of what is below the folder at a time.
    turn: Arc<Mutex<()>>,
}

impl Functions {
    /// Reads the functions below `folder`, which is made where it is not there. Beside it is where code is
    /// copied to.
    pub fn open(folder: PathBuf, payloads: Payloads) -> Result<Self, FunctionsError> {
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        // Code and variables may hold what is secret; sandboxes are given theirs from outside.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(at(&folder))?;
        let staging = Staging::open(folder.with_file_name("deploying"))?;
        let turn = Arc::<Mutex<()>>::default();
        let mut functions = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let path = entry.map_err(at(&folder))?.path();
            let record = path.join("function.json");
            let text = match fs::read(&record) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // A first deployment that was cut off.
                    fs::remove_dir_all(&path).map_err(at(&path))?;
                    continue;
                }
                Err(error) => return Err(at(&record)(error)),
            };
            // One that an earlier version has written.
            fs::set_permissions(&record, fs::Permissions::from_mode(0o600)).map_err(at(&record))?;
            let info: FunctionInfo = serde_json::from_slice(&text)
                .map_err(|error| at(&record)(io::Error::other(error)))?;
            let code = code_folder(&path, info.version);
            clear_other_code(&path, &code).map_err(at(&path))?;
            let code = Code::new(code, turn.clone());
            let function = Function::new(info, code, payloads);
            functions.insert(function.info.name.clone(), Arc::new(function));
        }
        Ok(Self { folder, staging, payloads, deployed: Mutex::new(functions), turn })
    }

    /// Deploys a function; of an existing name, as its next version. Calls that run finish on theirs.
    pub fn deploy(&self, wanted: Deploy) -> Result<Arc<Function>, FunctionsError> {
        // Nobody else waits for it: the source may be where reading takes for ever.
        let staged = self.staging.make(wanted)?;
        // Goes after the turn, which its end may need.
        let replaced;
        let _turn = lock(&self.turn);
        let folder = self.folder.join(staged.name());
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let version = 1 + last_version(&folder).map_err(at(&folder))?;
        let code = code_folder(&folder, version);
        match Self::write(staged, version, &folder, &code) {
            Ok((info, doubt)) => {
                let name = info.name.clone();
                let code = Code::new(code, self.turn.clone());
                let function = Arc::new(Function::new(info, code, self.payloads));
                replaced = lock(&self.deployed).insert(name, function.clone());
                if let Some(error) = doubt {
                    // After a loss of power it may be either version, so both stay.
                    return Err(error);
                }
                if let Some(old) = &replaced {
                    old.code.supersede();
                }
                Ok(function)
            }
            Err(error) => {
                let _ = fs::remove_dir_all(&code);
                // Goes only where nothing was deployed before.
                let _ = fs::remove_dir(&folder);
                Err(error)
            }
        }
    }

    /// Writes a version, its code first. With it, why it may be another one after a loss of power.
    fn write(
        staged: Staged,
        version: u64,
        folder: &Path,
        code: &Path,
    ) -> Result<(FunctionInfo, Option<FunctionsError>), FunctionsError> {
        let info = FunctionInfo { version, ..staged.settle(code)? };
        let record = folder.join("function.json");
        let text = serde_json::to_vec_pretty(&info)
            .map_err(|error| at(&record)(io::Error::other(error)))?;
        // The record names what is on the disk, whatever happens from then on.
        durable::folder(folder).map_err(at(folder))?;
        if let Some(all) = folder.parent() {
            durable::folder(all).map_err(at(all))?;
        }
        match durable::replace_private(&record, &text).map_err(at(&record)) {
            Ok(()) => Ok((info, None)),
            Err(error) if fs::read(&record).is_ok_and(|found| found == text) => {
                Ok((info, Some(error)))
            }
            Err(error) => Err(error),
        }
    }

    /// Forgets a function. Its code goes with the last that runs it.
    pub fn remove(&self, name: &str) -> Result<Arc<Function>, FunctionsError> {
        let _turn = lock(&self.turn);
        let function = self.get(name)?;
        // The record first: a function is there exactly as long as that is.
        let record = self.folder.join(name).join("function.json");
        fs::remove_file(&record).map_err(at(&record))?;
        lock(&self.deployed).remove(name);
        let folder = self.folder.join(name);
        // The code goes after the record has.
        durable::folder(&folder).map_err(at(&folder))?;
        function.code.supersede();
        Ok(function)
    }

    /// A function by name.
    pub fn get(&self, name: &str) -> Result<Arc<Function>, FunctionsError> {
        lock(&self.deployed)
            .get(name)
            .cloned()
            .ok_or_else(|| FunctionsError::Unknown(name.to_owned()))
    }

    /// All functions, by name.
    pub fn list(&self) -> Vec<Arc<Function>> {
        lock(&self.deployed).values().cloned().collect()
    }
}

fn code_folder(folder: &Path, version: u64) -> PathBuf {
    folder.join(format!("code-{version}"))
}

/// The highest version of which there is code, or 0. That of a removed function may still run.
fn last_version(folder: &Path) -> io::Result<u64> {
    let mut last = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let version = name.to_str().and_then(|name| name.strip_prefix("code-"));
        last = last.max(version.and_then(|version| version.parse().ok()).unwrap_or(0));
    }
    Ok(last)
}

fn clear_other_code(folder: &Path, current: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && path != current {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use pipsqueak::wire::AsyncPolicy;

    use super::*;

    const PAYLOADS: Payloads = Payloads { into: 10, out: 20 };

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
        let functions = Functions::open(state.clone(), PAYLOADS).unwrap();
        functions.deploy(wanted("hello", &source)).unwrap();
        let second = functions.deploy(wanted("hello", &source)).unwrap();
        assert_eq!((second.info.version, second.info.handler.as_str()), (2, "hello.handler"));

        let functions = Functions::open(state.clone(), PAYLOADS).unwrap();
        let found = functions.get("hello").unwrap();
        assert_eq!(found.info.version, 2);
        assert!(found.code.join("hello.py").exists());
        assert!(!state.join("hello/code-1").exists());
        drop(found);
        drop(functions.remove("hello").unwrap());
        assert!(!state.join("hello").exists());
        assert!(Functions::open(state, PAYLOADS).unwrap().list().is_empty());
    }

    #[test]
    fn what_was_deployed_when_concurrency_meant_sandboxes_has_as_many() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("hello.py");
        fs::write(&source, "def handler(event): return 1\n").unwrap();
        let state = folder.path().join("functions");
        Functions::open(state.clone(), PAYLOADS).unwrap().deploy(wanted("hello", &source)).unwrap();
        let record = state.join("hello/function.json");
        let mut old: serde_json::Value =
            serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
        assert_eq!((old["concurrency"].as_u64(), old["sandboxes"].as_u64()), (Some(1), Some(8)));
        for added in ["sandboxes", "payload_in", "payload_out"] {
            old.as_object_mut().unwrap().remove(added);
        }
        old["concurrency"] = 3.into();
        fs::write(&record, old.to_string()).unwrap();
        let found = Functions::open(state, PAYLOADS).unwrap().get("hello").unwrap();
        assert_eq!((found.info.concurrency, found.info.sandboxes), (1, 3));
        assert_eq!((found.info.payload_in, found.info.payload_out), (Some(10), Some(20)));
    }

    #[test]
    fn code_stays_as_long_as_somebody_runs_it() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("hello.py");
        fs::write(&source, "def handler(event): return 1\n").unwrap();
        let state = folder.path().join("functions");
        let functions = Functions::open(state.clone(), PAYLOADS).unwrap();
        let deploy = || functions.deploy(wanted("hello", &source)).unwrap();
        let first = deploy();
        drop(deploy());
        assert!(first.code.join("hello.py").exists());
        drop(first);
        assert!(!state.join("hello/code-1").exists());
        let removed = functions.remove("hello").unwrap();
        assert!(removed.code.join("hello.py").exists());
        // A new one of the name has nothing of it.
        let again = deploy();
        assert_eq!(again.info.version, 3);
        drop(removed);
        assert!(!state.join("hello/code-2").exists());
        assert!(again.code.join("hello.py").exists());
    }

    /// A folder with one file below another folder, and what it is to be deployed with.
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
        let functions = Functions::open(state.clone(), PAYLOADS).unwrap();
        let (deployed, steps) =
            durable::of(None, || functions.deploy(wanted("hello", &source)).unwrap());
        let record = ("replace", state.join("hello/function.json"));
        let named = steps.iter().position(|step| *step == record).unwrap();
        // Before it has its place, and then the folders that its place is in.
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
            let functions = Functions::open(state.clone(), PAYLOADS).unwrap();
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
            // Both are there as long as a loss of power may have brought back either.
            assert!(!has_failed || state.join("hello/code-1").exists());
            assert_eq!(is(&Functions::open(state, PAYLOADS).unwrap()), version);
            if !has_failed {
                return;
            }
            fails += 1;
        }
    }

    #[test]
    fn a_failed_deployment_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("hello.py");
        fs::write(&source, "def nothing(): ...\n").unwrap();
        let state = folder.path().join("functions");
        let functions = Functions::open(state.clone(), PAYLOADS).unwrap();
        assert!(functions.deploy(wanted("hello", &source)).is_err());
        assert!(!state.join("hello").exists());
        fs::write(&source, "def handler(event): return 1\n").unwrap();
        functions.deploy(wanted("hello", &source)).unwrap();
        fs::write(&source, "def nothing(): ...\n").unwrap();
        assert!(functions.deploy(wanted("hello", &source)).is_err());
        assert_eq!(Functions::open(state, PAYLOADS).unwrap().get("hello").unwrap().info.version, 1);
    }
}
