//! A version that is not in its final folder yet: its code is copied, checked and made durable.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use pipsqueak::wire::{DEFAULT_TMP, Deploy, FunctionInfo, MOST_CONCURRENCY, MOST_PAYLOAD};

use super::deploy;
use super::durable;
use super::entry;
use super::error::{FunctionsError, at};
use crate::events::Schedule;

const DEFAULT_MEMORY: u64 = 512 << 20;
const DEFAULT_TIMEOUT_MS: u64 = 30_000;
pub const DEFAULT_CONCURRENCY: u32 = 1;
const DEFAULT_SANDBOXES: u32 = 8;

/// Folder in which versions are made, on the file system of their final folders.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    next: AtomicU64,
}

/// A version without a number. Its code is removed when this is dropped.
#[derive(Debug)]
pub struct Staged {
    code: Copied,
    info: FunctionInfo,
}

/// The folder of a staged version, removed when dropped.
#[derive(Debug)]
struct Copied(PathBuf);

impl Staging {
    /// Empties the folder, or makes it if it is absent.
    pub fn open(folder: PathBuf) -> Result<Self, FunctionsError> {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at(&folder)(error));
            }
            _ => fs::create_dir_all(&folder).map_err(at(&folder))?,
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(at(&folder))?;
        Ok(Self { folder, next: AtomicU64::default() })
    }

    /// Copies the code of a `wanted` function. Blocks as long as the source takes to be read.
    pub fn make(&self, wanted: Deploy) -> Result<Staged, FunctionsError> {
        for schedule in &wanted.schedules {
            Schedule::parse(schedule).map_err(|e| FunctionsError::Invalid(e.to_string()))?;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let code = Copied(self.folder.join(number.to_string()));
        let single = deploy::copy(&wanted.source, &code.0)?;
        let handler = match &wanted.handler {
            Some(handler) => entry::well_formed(handler).ok_or_else(|| {
                let how = "write it as module.function";
                FunctionsError::Invalid(format!("{handler:?} is no handler: {how}"))
            })?,
            None => {
                entry::find(&code.0, single.as_deref(), &wanted.variables).map_err(|error| {
                    FunctionsError::Invalid(format!("{}: {error}", wanted.source.display()))
                })?
            }
        };
        durable::tree(&code.0).map_err(at(&code.0))?;
        Ok(Staged { code, info: described(wanted, handler) })
    }
}

impl Staged {
    /// The function's name.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// Moves the code to its final folder, on the same file system. Returns the function without a version.
    pub fn settle(self, place: &Path) -> Result<FunctionInfo, FunctionsError> {
        fs::rename(&self.code.0, place).map_err(at(place))?;
        Ok(self.info)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            // The code was moved to its final folder, or there never was any.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %self.0.display(), %error, "removing code that was not deployed");
            }
            Ok(()) => {}
        }
    }
}

fn described(wanted: Deploy, handler: String) -> FunctionInfo {
    let payload = wanted.payload.map(|bytes| bytes.clamp(1, MOST_PAYLOAD));
    let concurrency = wanted.concurrency.unwrap_or(DEFAULT_CONCURRENCY);
    FunctionInfo {
        name: wanted.name,
        handler,
        environment: wanted.environment,
        requirements: wanted.requirements,
        version: 0,
        memory: wanted.memory.unwrap_or(DEFAULT_MEMORY),
        cpu_millis: wanted.cpu_millis,
        tmp: wanted.tmp.unwrap_or(DEFAULT_TMP),
        timeout_ms: wanted.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS),
        concurrency: concurrency.clamp(1, MOST_CONCURRENCY),
        sandboxes: wanted.sandboxes.unwrap_or(DEFAULT_SANDBOXES).max(1),
        payload_in: payload,
        payload_out: payload,
        network: wanted.network,
        tenant: wanted.tenant,
        variables: wanted.variables,
        schedules: wanted.schedules,
        next_run: None,
        asynchronous: wanted.asynchronous,
    }
}
