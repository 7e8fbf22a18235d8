//! Programs by path or by name.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Path of the program `name`. A name with a folder is made absolute; another is looked for on `search`
/// (a PATH). Symbolic links are kept, because an interpreter finds its libraries by the name that it
/// was called by.
pub fn find_program(name: &Path, search: Option<&OsStr>) -> io::Result<PathBuf> {
    if name.components().count() != 1 || name.is_absolute() {
        let path = std::path::absolute(name)?;
        check_executable(&path)?;
        return Ok(path);
    }
    find_all(name, search)
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "not on the PATH"))
}

/// All places of a program on `search` (a PATH), in order.
pub(super) fn find_all(name: &Path, search: Option<&OsStr>) -> impl Iterator<Item = PathBuf> {
    let folders = std::env::split_paths(search.unwrap_or_default()).collect::<Vec<_>>();
    folders
        .into_iter()
        .filter(|folder| folder.is_absolute())
        .map(move |folder| folder.join(name))
        .filter(|path| check_executable(path).is_ok())
}

pub(super) fn check_executable(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(access(path, AccessFlags::X_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_and_a_path_is_checked() {
        let search = Some(OsStr::new("/nowhere:relative:/bin"));
        assert_eq!(find_program(Path::new("sh"), search).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find_program(Path::new("/bin/sh"), None).unwrap(), Path::new("/bin/sh"));
        assert!(find_program(Path::new("sh"), None).is_err());
        assert!(find_program(Path::new("/bin"), search).is_err());
        assert!(find_program(Path::new("/etc/passwd"), search).is_err());
    }
}
