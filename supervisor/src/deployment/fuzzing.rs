//! A door for the fuzz harness: the reader of deployed code.

use std::collections::BTreeMap;
use std::path::Path;

use super::deploy;
use super::entry;
use super::folder::DeployError;

/// Copies what is deployed into a new folder, and looks for its entry point. Returns true if it was
/// copied, and false if it was refused; an error is a fault of our own.
pub fn deploy(source: &Path, target: &Path) -> Result<bool, String> {
    match deploy::copy(source, target) {
        Ok(single) => {
            // A folder without an entry point is no failure.
            let _ = entry::find(target, single.as_deref(), &BTreeMap::new());
            Ok(true)
        }
        Err(DeployError::Source(_)) => Ok(false),
        Err(error @ DeployError::Copy(..)) => Err(error.to_string()),
    }
}
