//! A distribution as unpacking leaves it: its files, what is in them, and where they lie.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::catalog::FileContent;
use crate::id::Digest;
use crate::ingest::AddError;
use crate::ingest::archive::staged::Staged;
use crate::ingest::bytecode::Share;

/// A distribution as it lies in a folder of its own, ready to be stored.
#[derive(Debug)]
pub struct Unpacked {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Top-level names that can be imported.
    pub modules: Vec<String>,
    /// Files.
    pub files: Vec<UnpackedFile>,
    /// The root of an environment that has nothing else.
    pub(super) root: PathBuf,
    /// Bytecode.
    pub(super) compiled: Vec<Bytecode>,
}

/// The bytecode that a job has made of a distribution.
#[derive(Debug)]
pub struct Bytecode {
    /// The root of an environment that has nothing else, where that job has written.
    staged: Staged,
    /// Path.
    root: PathBuf,
    /// The files.
    files: Vec<UnpackedFile>,
}

/// A file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedFile {
    /// Path from the environment's root.
    pub path: String,
    /// Object of the content, and whether it may be executed.
    pub content: FileContent,
    /// Size in bytes.
    pub size: u64,
    /// Number of the bytecode of the distribution that it is a part of, if it is compiled.
    pub compiled: Option<usize>,
}

impl Unpacked {
    /// A distribution whose files are below `root`.
    #[cfg(test)]
    pub fn at(root: &Path, name: String, version: String, files: Vec<UnpackedFile>) -> Self {
        Self {
            name,
            version,
            modules: Vec::new(),
            files,
            root: root.to_owned(),
            compiled: Vec::new(),
        }
    }

    /// Opens one of its files.
    pub fn open(&self, file: &UnpackedFile) -> io::Result<File> {
        match self.bytecode(file) {
            Some(compiled) => Ok(compiled.staged.open_file(&file.path)?.0),
            None => File::open(self.root.join(&file.path)),
        }
    }

    /// The place of one of its files.
    pub fn path(&self, file: &UnpackedFile) -> PathBuf {
        let root = self.bytecode(file).map_or(&self.root, |compiled| &compiled.root);
        root.join(&file.path)
    }

    /// The root of an environment that has its files but bytecode.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn bytecode(&self, file: &UnpackedFile) -> Option<&Bytecode> {
        self.compiled.get(file.compiled?)
    }

    /// The shares in which its sources below `packages` are compiled.
    pub fn shares(&self, packages: &str) -> &'static [Share] {
        let sources = self.files.iter().map(|file| &*file.path);
        let sources = sources.filter_map(|path| path.strip_prefix(packages)?.strip_prefix('/'));
        Share::of(sources.filter(|path| path.strip_suffix(".py").is_some()))
    }

    /// Looks at the bytecode of its files that a job has left in `root`: what is there of other names is
    /// nobody's.
    pub fn find_bytecode(&self, root: PathBuf, cache_tag: &str) -> Result<Bytecode, AddError> {
        let staged = Staged::open(&root)?;
        let mut made = Vec::new();
        for source in self.files.iter().filter(|file| file.compiled.is_none()) {
            let Some(path) = bytecode_of(&source.path, cache_tag) else { continue };
            let Some((file, size, _)) = staged.open_if_there(&path).map_err(self.hostile(&path))?
            else {
                continue;
            };
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(&file).map_err(self.hostile(&path))?;
            let object = (size > 0).then(|| Digest(*hasher.finalize().as_bytes()));
            let content = FileContent { object, executable: false };
            made.push(UnpackedFile { path, content, size, compiled: None });
        }
        Ok(Bytecode { staged, root, files: made })
    }

    /// Takes bytecode that was found. What it has already is not replaced.
    pub fn add(&mut self, mut bytecode: Bytecode) {
        let known: HashSet<String> = self
            .files
            .iter()
            .filter(|file| file.compiled.is_some())
            .map(|file| file.path.clone())
            .collect();
        let number = Some(self.compiled.len());
        let found = std::mem::take(&mut bytecode.files).into_iter();
        let new = found.filter(|file| !known.contains(&file.path));
        self.files.extend(new.map(|file| UnpackedFile { compiled: number, ..file }));
        self.compiled.push(bytecode);
    }

    fn hostile(&self, path: &str) -> impl Fn(io::Error) -> AddError + use<> {
        let (distribution, path) = (self.name.clone(), path.to_owned());
        move |error| AddError::Hostile {
            distribution: distribution.clone(),
            reason: format!("{path:?}: {error}"),
        }
    }
}

/// The place of a file's bytecode, if the file is a source.
fn bytecode_of(path: &str, cache_tag: &str) -> Option<String> {
    let (folder, name) = path.strip_suffix(".py")?.rsplit_once('/')?;
    Some(format!("{folder}/__pycache__/{name}.{cache_tag}.pyc"))
}
