//! The copy of a function's code, into the folder that sandboxes see.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::archive;
use super::brought::{self, Brought, Kind};
use super::folder::{DeployError, MAX_BYTES, MAX_ENTRIES, create_folder, finish_file};

/// Deepest folder of code.
const MAX_DEPTH: usize = 64;

/// Copies the folder or the single Python file at `source`, an absolute path without links, into
/// `target`, a new folder; or unpacks a zip or a wheel into it.
///
/// Copies files and folders only, without version control and bytecode of another place. Returns the
/// module's name if the source is a single Python file.
pub fn copy(source: &Path, target: &Path) -> Result<Option<String>, DeployError> {
    let failed = |error| DeployError::Copy(target.display().to_string(), error);
    let refused = |why: String| DeployError::Source(format!("{}: {why}", source.display()));
    let brought = Brought::at(source).map_err(|error| refused(error.to_string()))?;
    create_folder(target).map_err(failed)?;
    let mut left = Left { bytes: MAX_BYTES, entries: MAX_ENTRIES };
    let bytes = match brought.kind() {
        Kind::Folder => {
            copy_folder(&brought, source, target, 0, &mut left)?;
            return Ok(None);
        }
        Kind::File(bytes) => bytes,
        Kind::Link(_) => return Err(refused("it is a link".to_owned())),
        Kind::Other(what) => return Err(refused(format!("it is {what}"))),
    };
    let name = source.file_name().and_then(|name| name.to_str());
    let open = || brought.open().map_err(|error| refused(error.to_string()));
    match name.and_then(|name| name.rsplit_once('.')) {
        Some((module, "py")) => {
            let to = target.join(format!("{module}.py"));
            copy_file(&brought, source, bytes, &to, &mut left)?;
            return Ok(Some(module.to_owned()));
        }
        Some((_, "zip")) => archive::unpack(open()?, source, target, &mut left.bytes)?,
        Some((_, "whl")) => archive::unpack_wheel(open()?, source, target, &mut left.bytes)?,
        _ => {
            return Err(DeployError::Source(format!(
                "{} is neither a folder nor a .py, .zip or .whl file",
                source.display()
            )));
        }
    }
    Ok(None)
}

/// Bytes and entries that the rest of the code may have.
struct Left {
    bytes: u64,
    entries: usize,
}

fn copy_folder(
    folder: &Brought,
    source: &Path,
    target: &Path,
    depth: usize,
    left: &mut Left,
) -> Result<(), DeployError> {
    let unreadable = |error| DeployError::Source(format!("{}: {error}", source.display()));
    let mut opened = folder.open_folder().map_err(unreadable)?;
    for name in brought::names(&mut opened).map_err(unreadable)? {
        if name == ".git" || name == "__pycache__" {
            continue;
        }
        let (from, to) = (source.join(&name), target.join(&name));
        let refused = |why: String| DeployError::Source(format!("{}: {why}", from.display()));
        left.entries = left.entries.checked_sub(1).ok_or_else(|| {
            refused(format!("the code has more than {MAX_ENTRIES} files and folders"))
        })?;
        let brought =
            Brought::in_folder(&opened, &name).map_err(|error| refused(error.to_string()))?;
        match brought.kind() {
            Kind::Folder if depth == MAX_DEPTH => {
                return Err(refused(format!("it is more than {MAX_DEPTH} folders deep")));
            }
            Kind::Folder => {
                let failed = |error| DeployError::Copy(to.display().to_string(), error);
                create_folder(&to).map_err(failed)?;
                copy_folder(&brought, &from, &to, depth + 1, left)?;
            }
            Kind::File(bytes) => copy_file(&brought, &from, bytes, &to, left)?,
            Kind::Link(to_where) => {
                return Err(refused(format!(
                    "it is a link to {}, and code has files and folders alone; put what it leads to in \
                     its place, or leave it out",
                    to_where.display()
                )));
            }
            Kind::Other(what) => {
                return Err(refused(format!("it is {what}, and code has files and folders alone")));
            }
        }
    }
    Ok(())
}

/// Copies a file of `bytes` bytes, holes included. A file that is too long is refused before it is read.
fn copy_file(
    brought: &Brought,
    from: &Path,
    bytes: u64,
    to: &Path,
    left: &mut Left,
) -> Result<(), DeployError> {
    if bytes > left.bytes {
        return Err(too_large(from));
    }
    let unreadable = |error| DeployError::Source(format!("{}: {error}", from.display()));
    let failed = |error| DeployError::Copy(to.display().to_string(), error);
    let source = brought.open().map_err(unreadable)?;
    let mut copy = File::create_new(to).map_err(failed)?;
    // The file may have grown since it was found.
    let copied = io::copy(&mut source.take(left.bytes + 1), &mut copy).map_err(failed)?;
    if copied > left.bytes {
        return Err(too_large(from));
    }
    finish_file(to, copied, brought.mode(), &mut left.bytes)
}

fn too_large(path: &Path) -> DeployError {
    let most = MAX_BYTES >> 20;
    DeployError::Source(format!("{}: with it the code is larger than {most} MiB", path.display()))
}
