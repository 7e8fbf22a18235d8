//! The folder that a function's code is copied to: its limits, and its modes.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Most bytes that one function's code may have: what AWS Lambda allows unpacked, twice.
pub const MAX_BYTES: u64 = 512 << 20;

/// Most files and folders that one function's code may have.
pub const MAX_ENTRIES: usize = 65_536;

/// Reason that code could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The source is at fault; the user can mend it.
    #[error("{0}")]
    Source(String),
    /// The machine is at fault.
    #[error("copying the function's code to {0}: {1}")]
    Copy(String, io::Error),
}

/// Counts a file of `bytes` bytes and makes it readable for everybody; executable too if `mode` has any
/// executable bit.
pub fn finish_file(to: &Path, bytes: u64, mode: u32, left: &mut u64) -> Result<(), DeployError> {
    *left = left.checked_sub(bytes).ok_or_else(|| {
        DeployError::Source(format!("the code is larger than {} MiB", MAX_BYTES >> 20))
    })?;
    let mode = if mode & 0o111 != 0 { 0o755 } else { 0o644 };
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
        .map_err(|error| DeployError::Copy(to.display().to_string(), error))
}

/// Makes a folder that everybody may read.
pub fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
