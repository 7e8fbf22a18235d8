//! The record of a deployed function: `function.json` in its folder, encrypted if there is a key.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pipsqueak::wire::FunctionInfo;

use super::durable;
use super::error::{FunctionsError, at};
use crate::sealed::Keys;

/// Reads the record in a function's folder; `None` if there is none. A record whose encryption is not
/// as the keys say is written anew.
pub fn read(folder: &Path, keys: &Keys) -> Result<Option<FunctionInfo>, FunctionsError> {
    let record = path(folder);
    let stored = match fs::read(&record) {
        Ok(stored) => stored,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&record)(error)),
    };
    // An earlier version may have written it with another mode.
    fs::set_permissions(&record, Permissions::from_mode(0o600)).map_err(at(&record))?;
    let opened = keys.open(&place(folder), &stored)?;
    let info = serde_json::from_slice(&opened.content)
        .map_err(|error| at(&record)(io::Error::other(error)))?;
    // A record that a crash cut off has the variables too, perhaps from before there was a key.
    pipsqueak_fs::durable::remove(&record.with_extension("new")).map_err(at(&record))?;
    if opened.is_outdated {
        let sealed = keys.seal(&place(folder), &opened.content)?;
        durable::replace_private(&record, &sealed).map_err(at(&record))?;
    }
    Ok(Some(info))
}

/// Writes the record into a function's folder. Returns an error in `Some` if the earlier record may be
/// back after a loss of power.
pub fn write(
    folder: &Path,
    info: &FunctionInfo,
    keys: &Keys,
) -> Result<Option<FunctionsError>, FunctionsError> {
    let record = path(folder);
    let text =
        serde_json::to_vec_pretty(info).map_err(|error| at(&record)(io::Error::other(error)))?;
    let sealed = keys.seal(&place(folder), &text)?;
    // The record names what is on the disk, whatever happens from then on.
    durable::folder(folder).map_err(at(folder))?;
    if let Some(all) = folder.parent() {
        durable::folder(all).map_err(at(all))?;
    }
    match durable::replace_private(&record, &sealed).map_err(at(&record)) {
        Ok(()) => Ok(None),
        Err(error) if fs::read(&record).is_ok_and(|found| found == sealed) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Removes the record from a function's folder.
pub fn remove(folder: &Path) -> Result<(), FunctionsError> {
    let record = path(folder);
    fs::remove_file(&record).map_err(at(&record))
}

fn path(folder: &Path) -> PathBuf {
    folder.join("function.json")
}

/// Name of a record's place, which its encryption is bound to.
fn place(folder: &Path) -> String {
    format!("the record of function {}", folder.file_name().unwrap_or_default().display())
}
