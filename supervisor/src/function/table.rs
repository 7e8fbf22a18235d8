//! Which functions there are, on disk and in memory.
//!
//! ```text
//! STATE/functions/NAME/function.json   what was deployed last, replaced by rename
//! STATE/functions/NAME/code-VERSION/   its code, read-only for sandboxes
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipsqueak::wire::{DEFAULT_TMP, Deploy, FunctionInfo, MOST_CONCURRENCY, MOST_PAYLOAD, Network};

use super::deploy::{self, DeployError};
use super::entry;
use crate::events::{Schedule, next_run};
use crate::wall_clock;

const DEFAULT_MEMORY: u64 = 512 << 20;
const DEFAULT_TIMEOUT_MS: u64 = 30_000;
const DEFAULT_CONCURRENCY: u32 = 1;
const DEFAULT_SANDBOXES: u32 = 8;

/// Why a function could not be deployed, kept or found.
#[derive(Debug, thiserror::Error)]
pub enum FunctionsError {
    /// There is none of that name.
    #[error("there is no function {0}; `pipsqueak functions ls` lists those there are")]
    Unknown(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Its code.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// Its record.
    #[error("{}: {error}", path.display())]
    Record {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A deployed function.
#[derive(Debug)]
pub struct Function {
    /// What was deployed.
    pub info: FunctionInfo,
    /// Its code on the host.
    pub code: PathBuf,
}

impl Function {
    /// Whether its sandboxes have a network namespace of their own.
    pub fn own_network(&self) -> bool {
        self.info.network != Network::Host
    }

    /// What was deployed, and when it runs next by itself.
    pub fn shown(&self) -> FunctionInfo {
        let next = next_run(&self.info.schedules, wall_clock::now());
        FunctionInfo { next_run: next.map(wall_clock::in_seconds), ..self.info.clone() }
    }

    fn new(mut info: FunctionInfo, code: PathBuf, payloads: Payloads) -> Self {
        info.payload_in.get_or_insert(payloads.into);
        info.payload_out.get_or_insert(payloads.out);
        if info.sandboxes == 0 {
            info.sandboxes = std::mem::replace(&mut info.concurrency, DEFAULT_CONCURRENCY);
        }
        Self { info, code }
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
    payloads: Payloads,
    deployed: Mutex<BTreeMap<String, Arc<Function>>>,
}

impl Functions {
    /// Reads the functions below `folder`, which is made where it is not there.
    pub fn open(folder: PathBuf, payloads: Payloads) -> Result<Self, FunctionsError> {
        fs::create_dir_all(&folder).map_err(at(&folder))?;
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
            let info: FunctionInfo = serde_json::from_slice(&text)
                .map_err(|error| at(&record)(io::Error::other(error)))?;
            let code = code_folder(&path, info.version);
            clear_other_code(&path, &code).map_err(at(&path))?;
            let function = Function::new(info, code, payloads);
            functions.insert(function.info.name.clone(), Arc::new(function));
        }
        Ok(Self { folder, payloads, deployed: Mutex::new(functions) })
    }

    /// Deploys a function; of an existing name, as its next version.
    pub fn deploy(&self, wanted: Deploy) -> Result<Arc<Function>, FunctionsError> {
        let folder = self.folder.join(&wanted.name);
        let version = self.get(&wanted.name).map_or(1, |old| old.info.version + 1);
        let code = code_folder(&folder, version);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let deployed = self.write(wanted, version, &folder, &code);
        match deployed {
            Ok(function) => {
                let function = Arc::new(function);
                self.lock().insert(function.info.name.clone(), function.clone());
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

    fn write(
        &self,
        wanted: Deploy,
        version: u64,
        folder: &Path,
        code: &Path,
    ) -> Result<Function, FunctionsError> {
        for schedule in &wanted.schedules {
            Schedule::parse(schedule).map_err(|e| FunctionsError::Invalid(e.to_string()))?;
        }
        let _ = fs::remove_dir_all(code);
        let single = deploy::copy(&wanted.source, code)?;
        let handler = match wanted.handler {
            Some(handler) if entry::is_well_formed(&handler) => handler,
            Some(handler) => {
                return Err(FunctionsError::Invalid(format!(
                    "{handler:?} is no handler: write it as module.function"
                )));
            }
            None => entry::find(code, single.as_deref()).ok_or_else(|| {
                FunctionsError::Invalid(format!(
                    "no handler found in {}: name it with --handler module.function",
                    wanted.source.display()
                ))
            })?,
        };
        let payload = wanted.payload.map(|bytes| bytes.clamp(1, MOST_PAYLOAD));
        let info = FunctionInfo {
            name: wanted.name,
            handler,
            environment: wanted.environment,
            requirements: wanted.requirements,
            version,
            memory: wanted.memory.unwrap_or(DEFAULT_MEMORY),
            cpu_millis: wanted.cpu_millis,
            tmp: wanted.tmp.unwrap_or(DEFAULT_TMP),
            timeout_ms: wanted.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS),
            concurrency: wanted
                .concurrency
                .unwrap_or(DEFAULT_CONCURRENCY)
                .clamp(1, MOST_CONCURRENCY),
            sandboxes: wanted.sandboxes.unwrap_or(DEFAULT_SANDBOXES).max(1),
            payload_in: payload,
            payload_out: payload,
            network: wanted.network,
            variables: wanted.variables,
            schedules: wanted.schedules,
            next_run: None,
            asynchronous: wanted.asynchronous,
        };
        let record = folder.join("function.json");
        let text = serde_json::to_vec_pretty(&info)
            .map_err(|error| at(&record)(io::Error::other(error)))?;
        replace(&record, &text).map_err(at(&record))?;
        Ok(Function::new(info, code.to_owned(), self.payloads))
    }

    /// Forgets a function. Its code goes with its last sandbox's mount.
    pub fn remove(&self, name: &str) -> Result<Arc<Function>, FunctionsError> {
        let mut functions = self.lock();
        let function =
            functions.remove(name).ok_or_else(|| FunctionsError::Unknown(name.to_owned()))?;
        let folder = self.folder.join(name);
        // The record first: a function is there exactly as long as that is.
        let record = folder.join("function.json");
        fs::remove_file(&record).map_err(at(&record))?;
        fs::remove_dir_all(&folder).map_err(at(&folder))?;
        Ok(function)
    }

    /// A function by name.
    pub fn get(&self, name: &str) -> Result<Arc<Function>, FunctionsError> {
        self.lock().get(name).cloned().ok_or_else(|| FunctionsError::Unknown(name.to_owned()))
    }

    /// All functions, by name.
    pub fn list(&self) -> Vec<Arc<Function>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Function>>> {
        self.deployed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn code_folder(folder: &Path, version: u64) -> PathBuf {
    folder.join(format!("code-{version}"))
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

/// Writes a file so that there is always the old or the new one, whole.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> FunctionsError + use<'_> {
    move |error| FunctionsError::Record { path: path.to_owned(), error }
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
        functions.remove("hello").unwrap();
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
