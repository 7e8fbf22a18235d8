//! Files of the machine, with their paths in errors.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// An error of a file or folder.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError {
    /// The file or folder.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// Adds a path to an error.
pub fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + use<'_> {
    move |source| FileError { path: path.to_owned(), source }.into()
}

/// Reads a file's text.
pub fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(at(path))
}

/// Writes to a file.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text).map_err(at(path))
}

/// Writes to a file if it is there.
pub fn write_if_there(path: &Path, text: &str) -> io::Result<()> {
    if path.exists() { write(path, text) } else { Ok(()) }
}

/// Reads a file that holds one number; 0 if there is none.
pub fn read_number(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_path_and_keeps_its_kind() {
        let error = read(Path::new("/none/such")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("/none/such: No such file"), "{error}");
    }
}
