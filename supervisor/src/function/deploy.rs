//! Copying a function's code to where sandboxes see it.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::archive;

/// Most bytes that one function's code may have: what AWS Lambda allows unpacked, twice.
pub const MAX_BYTES: u64 = 512 << 20;

/// Why code could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The user can mend it.
    #[error("{0}")]
    Source(String),
    /// The machine's fault.
    #[error("copying the function's code to {0}: {1}")]
    Copy(String, io::Error),
}

/// Copies the folder or the single Python file at `source` into `target`, a new folder; or unpacks a
/// zip or a wheel into it.
///
/// Links are copied as they are: in a sandbox they lead to the sandbox's files. Version control
/// and bytecode of another place are left out. Returns the module's name of a single file.
pub fn copy(source: &Path, target: &Path) -> Result<Option<String>, DeployError> {
    let failed = |error| DeployError::Copy(target.display().to_string(), error);
    let metadata = fs::metadata(source)
        .map_err(|error| DeployError::Source(format!("{}: {error}", source.display())))?;
    create_folder(target).map_err(failed)?;
    let mut left = MAX_BYTES;
    if metadata.is_dir() {
        copy_folder(source, target, &mut left)?;
        return Ok(None);
    }
    let name = source.file_name().and_then(|name| name.to_str()).filter(|_| metadata.is_file());
    match name.and_then(|name| name.rsplit_once('.')) {
        Some((module, "py")) => {
            copy_file(source, &target.join(format!("{module}.py")), &mut left)?;
            return Ok(Some(module.to_owned()));
        }
        Some((_, "zip")) => archive::unpack(source, target, &mut left)?,
        Some((_, "whl")) => archive::unpack_wheel(source, target, &mut left)?,
        _ => {
            return Err(DeployError::Source(format!(
                "{} is neither a folder nor a .py, .zip or .whl file",
                source.display()
            )));
        }
    }
    Ok(None)
}

fn copy_folder(source: &Path, target: &Path, left: &mut u64) -> Result<(), DeployError> {
    let unreadable = |error| DeployError::Source(format!("{}: {error}", source.display()));
    for entry in fs::read_dir(source).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        let kind = entry.file_type().map_err(unreadable)?;
        let failed = |error| DeployError::Copy(to.display().to_string(), error);
        if entry.file_name() == ".git" || entry.file_name() == "__pycache__" {
            continue;
        }
        if kind.is_dir() {
            create_folder(&to).map_err(failed)?;
            copy_folder(&from, &to, left)?;
        } else if kind.is_symlink() {
            fs::read_link(&from).and_then(|to_where| symlink(to_where, &to)).map_err(failed)?;
        } else if kind.is_file() {
            copy_file(&from, &to, left)?;
        } else {
            return Err(DeployError::Source(format!(
                "{} is neither a file nor a folder nor a link",
                from.display()
            )));
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, left: &mut u64) -> Result<(), DeployError> {
    let failed = |error| DeployError::Copy(to.display().to_string(), error);
    let copied = fs::copy(from, to).map_err(failed)?;
    let mode = fs::metadata(to).map_err(failed)?.permissions().mode();
    finish_file(to, copied, mode, left)
}

/// Counts a file of so many bytes, and lets everybody read it, and execute it where its `mode` lets
/// anybody.
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
