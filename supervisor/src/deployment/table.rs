//! All deployed functions, on disk and in memory.
//!
//! ```text
//! STATE/functions/NAME/function.json   last deployment, replaced by rename, encrypted if there is a key
//! STATE/functions/NAME/code-VERSION/   its code, read-only for sandboxes; that of an older version as
//!                                      long as calls of it run
//! STATE/deploying/                     code that is being copied
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use pipsqueak::wire::{Deploy, FunctionInfo, HIDDEN_VALUE, Network};

use super::code::Code;
use super::durable;
use super::error::{FunctionsError, at};
use super::record;
use super::staged::{DEFAULT_CONCURRENCY, Staged, Staging};
use super::trust::Trust;
use super::variables::Variables;
use crate::events::next_run;
use crate::sandbox::Commons;
use crate::sealed::Keys;
use crate::sync::{Mutex, lock};
use crate::wall_clock;

/// A deployed function.
#[derive(Debug)]
pub struct Function {
    /// The function as it was deployed.
    pub info: FunctionInfo,
    /// The function's code on the host.
    pub code: Code,
    /// History of the version's loads.
    pub trust: Trust,
    /// Environment variables of the function's processes.
    pub variables: Variables,
    /// Name of the function's environment, filled at its first use.
    pub(crate) environment_name: OnceLock<String>,
}

impl Function {
    /// True if the function's sandboxes have a network namespace of their own.
    pub fn own_network(&self) -> bool {
        self.info.network != Network::Host
    }

    /// The group of sandboxes that share their view of the system with this function's.
    pub fn commons(&self) -> Commons {
        Commons::of_functions(self.own_network(), self.info.tenant.as_deref())
    }

    /// The function as a client sees it: without its variables' values, with its next scheduled run.
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

/// Longest events and results of functions that were deployed without limits of their own, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Payloads {
    /// Longest event.
    pub into: u64,
    /// Longest result.
    pub out: u64,
}

/// All functions.
#[derive(Debug)]
pub struct Functions {
    folder: PathBuf,
    staging: Staging,
    payloads: Payloads,
    keys: Arc<Keys>,
    deployed: Mutex<BTreeMap<String, Arc<Function>>>,
    /// Held by each change below the folder: one at a time.
    turn: Arc<Mutex<()>>,
}

impl Functions {
    /// Reads the functions below `folder`, which is made if it is absent. Code is copied to a folder
    /// beside it. Records whose encryption is not as the keys say are written anew.
    pub fn open(
        folder: PathBuf,
        payloads: Payloads,
        keys: Arc<Keys>,
    ) -> Result<Self, FunctionsError> {
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        // Code and variables may be secret. Sandboxes get their code mounted by the supervisor, not by
        // this path.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(at(&folder))?;
        let staging = Staging::open(folder.with_file_name("deploying"))?;
        let turn = Arc::<Mutex<()>>::default();
        let mut functions = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let path = entry.map_err(at(&folder))?.path();
            let Some(info) = record::read(&path, &keys)? else {
                // The rest of a first deployment that was cut off.
                fs::remove_dir_all(&path).map_err(at(&path))?;
                continue;
            };
            let code = code_folder(&path, info.version);
            clear_other_code(&path, &code).map_err(at(&path))?;
            let code = Code::new(code, turn.clone());
            let function = Function::new(info, code, payloads);
            functions.insert(function.info.name.clone(), Arc::new(function));
        }
        Ok(Self { folder, staging, payloads, keys, deployed: Mutex::new(functions), turn })
    }

    /// Deploys a function; if its name exists, as the next version. Running calls finish on their own
    /// version.
    pub fn deploy(&self, wanted: Deploy) -> Result<Arc<Function>, FunctionsError> {
        // Before the turn is taken: a source on a bad file system may never be read to its end.
        let staged = self.staging.make(wanted)?;
        // Dropped after `_turn`, because the drop of old code may take the turn.
        let replaced;
        let _turn = lock(&self.turn);
        let folder = self.folder.join(staged.name());
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let version = 1 + last_version(&folder).map_err(at(&folder))?;
        let code = code_folder(&folder, version);
        match Self::write(&self.keys, staged, version, (&folder, &code)) {
            Ok((info, doubt)) => {
                let name = info.name.clone();
                let code = Code::new(code, self.turn.clone());
                let function = Arc::new(Function::new(info, code, self.payloads));
                replaced = lock(&self.deployed).insert(name, function.clone());
                if let Some(error) = doubt {
                    // After a loss of power either version may be the deployed one, so the code of both
                    // stays.
                    return Err(error);
                }
                if let Some(old) = &replaced {
                    old.code.supersede();
                }
                Ok(function)
            }
            Err(error) => {
                let _ = fs::remove_dir_all(&code);
                // Removes the folder only if it is empty: nothing was deployed before.
                let _ = fs::remove_dir(&folder);
                Err(error)
            }
        }
    }

    /// Writes a version, its code first. Returns, if known, why an earlier one may be back after a loss
    /// of power.
    fn write(
        keys: &Keys,
        staged: Staged,
        version: u64,
        (folder, code): (&Path, &Path),
    ) -> Result<(FunctionInfo, Option<FunctionsError>), FunctionsError> {
        let info = FunctionInfo { version, ..staged.settle(code)? };
        let doubt = record::write(folder, &info, keys)?;
        Ok((info, doubt))
    }

    /// Removes a function. Its code goes with the last call that runs it.
    pub fn remove(&self, name: &str) -> Result<Arc<Function>, FunctionsError> {
        let _turn = lock(&self.turn);
        let function = self.get(name)?;
        // The record goes first, because a function exists exactly as long as its record.
        let folder = self.folder.join(name);
        record::remove(&folder)?;
        lock(&self.deployed).remove(name);
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

/// Highest version that has code here, or 0. Code of a removed function may still be running.
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

#[cfg(test)]
mod tests;
