//! A folder that package code may have had its hands in, or what compiles it: read without following a
//! link.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use crate::ingest::AddError;
use crate::ingest::archive::{record, top_level};
use crate::ingest::requirement::normalise;

/// Largest file that is taken, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// A staged environment.
#[derive(Debug)]
pub struct Staged {
    root: OwnedFd,
}

/// A distribution in it, as far as its RECORD tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedDistribution {
    /// Normalised name.
    pub name: String,
    /// Top-level names that can be imported.
    pub modules: Vec<String>,
}

impl Staged {
    /// Opens the environment at `root`.
    pub fn open(root: &Path) -> Result<Self, AddError> {
        let folder = File::open(root).map_err(AddError::at(root))?;
        Ok(Self { root: folder.into() })
    }

    /// Opens a file below the root: itself, its size in bytes, and whether it may be executed.
    ///
    /// Refuses whatever is reached by a link or is no plain file.
    pub fn open_file(&self, path: &str) -> io::Result<(File, u64, bool)> {
        let file = File::from(self.open_below(path, OFlag::O_NONBLOCK)?);
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            return Err(io::Error::other("it is no plain file, or too large a one"));
        }
        Ok((file, metadata.len(), metadata.permissions().mode() & 0o111 != 0))
    }

    /// Variant of [`Self::open_file`] that returns `None` if there is no such file.
    pub fn open_if_there(&self, path: &str) -> io::Result<Option<(File, u64, bool)>> {
        match self.open_file(path) {
            // Bytecode has a longer name than its source, and is not made where that is too long.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename
                ) =>
            {
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

    /// All distributions whose packages are at `site_packages` below the root.
    pub fn distributions(&self, site_packages: &str) -> Result<Vec<StagedDistribution>, AddError> {
        let site = Path::new(site_packages);
        let mut found = Vec::new();
        for folder in self.list(site_packages).map_err(AddError::at(site))? {
            if let Some(stem) = folder.strip_suffix(".dist-info") {
                found.push(self.distribution(site_packages, &folder, stem)?);
            }
        }
        Ok(found)
    }

    fn distribution(
        &self,
        site_packages: &str,
        folder: &str,
        stem: &str,
    ) -> Result<StagedDistribution, AddError> {
        let hostile = |reason: String| AddError::Hostile { distribution: stem.to_owned(), reason };
        let (name, _) = stem
            .rsplit_once('-')
            .ok_or_else(|| hostile(format!("{folder} does not name a version")))?;
        let path = format!("{site_packages}/{folder}/RECORD");
        let text = self.read(&path).map_err(|error| hostile(format!("{path}: {error}")))?;
        let text = String::from_utf8(text).map_err(|_| hostile(format!("{path} is not UTF-8")))?;
        let files: Vec<String> = record::parse(&text)
            .iter()
            .filter_map(|line| record::resolve(site_packages, &line.path))
            .collect();
        let modules = top_level::modules(files.iter().map(String::as_str), site_packages);
        Ok(StagedDistribution { name: normalise(name), modules })
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let (mut file, size, _) = self.open_file(path)?;
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.read_to_end(&mut content)?;
        Ok(content)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let folder = self.open_below(path, OFlag::O_DIRECTORY)?;
        let mut folder = Dir::from_fd(folder)?;
        let names = folder
            .iter()
            .map(|entry| Ok(entry?.file_name().to_str().map_err(io::Error::other)?.to_owned()));
        names.collect()
    }

    fn open_below(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | flags)
            .mode(Mode::empty())
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        Ok(openat2(self.root.as_fd(), path, how)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const SITE: &str = "lib/python3.11/site-packages";

    #[test]
    fn a_distribution_is_what_its_record_names() {
        let root = tempfile::tempdir().unwrap();
        let site = root.path().join(SITE);
        fs::create_dir_all(site.join("My_Thing-1.0.dist-info")).unwrap();
        fs::create_dir_all(site.join("other")).unwrap();
        let record = "thing/__init__.py,sha256=x,6\n../../../bin/thing,,\n../../../../x.py,,\n";
        fs::write(site.join("My_Thing-1.0.dist-info/RECORD"), record).unwrap();
        let staged = Staged::open(root.path()).unwrap();
        let expected =
            StagedDistribution { name: "my-thing".to_owned(), modules: vec!["thing".to_owned()] };
        assert_eq!(staged.distributions(SITE).unwrap(), [expected]);
    }

    #[test]
    fn what_leads_outside_is_refused() {
        let root = tempfile::tempdir().unwrap();
        symlink("/etc/passwd", root.path().join("link.py")).unwrap();
        symlink("/etc", root.path().join("away")).unwrap();
        fs::write(root.path().join("plain"), "x").unwrap();
        let staged = Staged::open(root.path()).unwrap();
        for path in ["link.py", "away/passwd", "../passwd", "away"] {
            assert!(staged.open_file(path).is_err(), "{path}");
        }
        assert!(staged.open_if_there("link.py").is_err());
        assert!(staged.open_if_there("gone").unwrap().is_none());
        assert!(staged.open_if_there(&"n".repeat(300)).unwrap().is_none());
        assert_eq!(staged.open_if_there("plain").unwrap().unwrap().1, 1);
    }
}
