//! Which functions there are, on disk and in memory.
//!
//! ```text
//! STATE/functions/NAME/function.json   what was deployed last, replaced by rename, encrypted where
//!                                      there is a key
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

    /// With whom its sandboxes share what they see of the system.
    pub fn commons(&self) -> Commons {
        Commons::of_functions(self.own_network(), self.info.tenant.as_deref())
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
    keys: Arc<Keys>,
    deployed: Mutex<BTreeMap<String, Arc<Function>>>,
    /// One change of what is below the folder at a time.
    turn: Arc<Mutex<()>>,
}

impl Functions {
    /// Reads the functions below `folder`, which is made where it is not there. Beside it is where code is
    /// copied to. Records that are not encrypted as the keys say are written anew.
    pub fn open(
        folder: PathBuf,
        payloads: Payloads,
        keys: Arc<Keys>,
    ) -> Result<Self, FunctionsError> {
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        // Code and variables may hold what is secret; sandboxes are given theirs from outside.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(at(&folder))?;
        let staging = Staging::open(folder.with_file_name("deploying"))?;
        let turn = Arc::<Mutex<()>>::default();
        let mut functions = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let path = entry.map_err(at(&folder))?.path();
            let Some(info) = record::read(&path, &keys)? else {
                // A first deployment that was cut off.
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
        match Self::write(&self.keys, staged, version, (&folder, &code)) {
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
        keys: &Keys,
        staged: Staged,
        version: u64,
        (folder, code): (&Path, &Path),
    ) -> Result<(FunctionInfo, Option<FunctionsError>), FunctionsError> {
        let info = FunctionInfo { version, ..staged.settle(code)? };
        let doubt = record::write(folder, &info, keys)?;
        Ok((info, doubt))
    }

    /// Forgets a function. Its code goes with the last that runs it.
    pub fn remove(&self, name: &str) -> Result<Arc<Function>, FunctionsError> {
        let _turn = lock(&self.turn);
        let function = self.get(name)?;
        // The record first: a function is there exactly as long as that is.
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

#[cfg(test)]
mod tests;
