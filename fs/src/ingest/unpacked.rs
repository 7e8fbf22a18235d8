//! A distribution as unpacking leaves it: its files, what is in them, and where they lie.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::AddError;
use super::staged::Staged;
use crate::catalog::FileContent;
use crate::id::Digest;

/// A distribution as it lies in a folder of its own, ready to be stored.
#[derive(Debug)]
pub struct Unpacked {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Top-level names that can be imported.
    pub modules: Vec<String>,
    /// Its files.
    pub files: Vec<UnpackedFile>,
    /// The root of an environment that has nothing else.
    pub(super) root: PathBuf,
    /// The root of one that has its bytecode, which was made by a job.
    pub(super) compiled: Option<(Staged, PathBuf)>,
}

/// A file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedFile {
    /// Path from the environment's root.
    pub path: String,
    /// What is there.
    pub content: FileContent,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it was made from another.
    pub is_compiled: bool,
}

impl Unpacked {
    /// A distribution whose files are below `root`.
    #[cfg(test)]
    pub fn at(
        root: &std::path::Path,
        name: String,
        version: String,
        files: Vec<UnpackedFile>,
    ) -> Self {
        Self { name, version, modules: Vec::new(), files, root: root.to_owned(), compiled: None }
    }

    /// Opens one of its files.
    pub fn open(&self, file: &UnpackedFile) -> io::Result<File> {
        match &self.compiled {
            Some((compiled, _)) if file.is_compiled => Ok(compiled.open_file(&file.path)?.0),
            _ => File::open(self.root.join(&file.path)),
        }
    }

    /// Where one of its files lies.
    pub fn path(&self, file: &UnpackedFile) -> PathBuf {
        match &self.compiled {
            Some((_, compiled)) if file.is_compiled => compiled.join(&file.path),
            _ => self.root.join(&file.path),
        }
    }

    /// Takes the bytecode of its files that a job has left in `compiled`, which is at `root`: what is
    /// there of other names is nobody's.
    pub fn take_bytecode(
        &mut self,
        compiled: Staged,
        root: PathBuf,
        cache_tag: &str,
    ) -> Result<(), AddError> {
        let mut made = Vec::new();
        for source in &self.files {
            let Some(path) = bytecode_of(&source.path, cache_tag) else { continue };
            let Some((file, size, _)) =
                compiled.open_if_there(&path).map_err(self.hostile(&path))?
            else {
                continue;
            };
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(&file).map_err(self.hostile(&path))?;
            let object = (size > 0).then(|| Digest(*hasher.finalize().as_bytes()));
            let content = FileContent { object, executable: false };
            made.push(UnpackedFile { path, content, size, is_compiled: true });
        }
        self.files.append(&mut made);
        self.compiled = Some((compiled, root));
        Ok(())
    }

    fn hostile(&self, path: &str) -> impl Fn(io::Error) -> AddError + use<> {
        let (distribution, path) = (self.name.clone(), path.to_owned());
        move |error| AddError::Hostile {
            distribution: distribution.clone(),
            reason: format!("{path:?}: {error}"),
        }
    }
}

/// Where the bytecode of a file is, if that is a source.
fn bytecode_of(path: &str, cache_tag: &str) -> Option<String> {
    let (folder, name) = path.strip_suffix(".py")?.rsplit_once('/')?;
    Some(format!("{folder}/__pycache__/{name}.{cache_tag}.pyc"))
}

/// Top-level names of a distribution's files: single modules, extension modules, and packages with an
/// `__init__`.
pub fn modules<'a>(files: impl Iterator<Item = &'a str>, site_packages: &str) -> Vec<String> {
    let below = files.filter_map(|path| path.strip_prefix(site_packages)?.strip_prefix('/'));
    let names: BTreeSet<&str> = below
        .filter_map(|path| match path.split_once('/') {
            None => {
                let plain = path.strip_suffix(".py");
                plain.or_else(|| path.strip_suffix(".so").and_then(|so| so.split('.').next()))
            }
            Some((package, "__init__.py")) => Some(package),
            Some(_) => None,
        })
        .filter(|name| {
            !name.starts_with('_')
                && name.chars().all(|c| c.is_alphanumeric() || c == '_')
                && !matches!(*name, "test" | "tests" | "conftest" | "setup")
        })
        .collect();
    names.into_iter().map(ToOwned::to_owned).collect()
}
