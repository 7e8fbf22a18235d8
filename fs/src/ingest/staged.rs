//! A staging folder that package code may have had its hands in: read without following a link,
//! and told apart into distributions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use super::lock::normalise;
use super::record::Claim;
use super::{AddError, record};
use crate::view::plan::Conflict;

/// Largest file that is taken, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// What uv and pip leave of their own: it differs between two installs of the same wheel.
const OF_THE_INSTALLER: [&str; 2] = ["REQUESTED", "uv_cache.json"];

/// What they write over what a wheel may have brought, whatever its RECORD says of that.
const WRITTEN_OVER: [&str; 2] = ["INSTALLER", "direct_url.json"];

/// A staged environment.
#[derive(Debug)]
pub struct Staged {
    root: OwnedFd,
    site_packages: String,
    cache_tag: String,
}

/// A distribution in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedDistribution {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Its files from the environment's root, RECORD's own and its bytecode included, in order.
    pub files: Vec<String>,
    /// What RECORD says of those of them that it has a line for.
    pub claims: BTreeMap<String, Claim>,
    /// Path of its RECORD and what that says with the installer's own lines left out.
    pub record: (String, Vec<u8>),
    /// Top-level names that can be imported.
    pub modules: Vec<String>,
}

impl Staged {
    /// Opens the environment at `root`, whose packages are at `site_packages` below that.
    pub fn open(root: &Path, site_packages: String, cache_tag: String) -> Result<Self, AddError> {
        let folder = File::open(root).map_err(AddError::at(root))?;
        Ok(Self { root: folder.into(), site_packages, cache_tag })
    }

    /// Reads a file below the root: its content, and whether it may be executed.
    ///
    /// Refuses whatever is reached by a link or is no plain file.
    pub fn read(&self, path: &str) -> io::Result<(Vec<u8>, bool)> {
        let (mut file, size, executable) = self.open_file(path)?;
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.read_to_end(&mut content)?;
        Ok((content, executable))
    }

    /// Opens a file below the root: itself, its size in bytes, and whether it may be executed.
    ///
    /// Refuses what [`Self::read`] does.
    pub fn open_file(&self, path: &str) -> io::Result<(File, u64, bool)> {
        let file = File::from(self.open_below(path, OFlag::O_NONBLOCK)?);
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            return Err(io::Error::other("it is no plain file, or too large a one"));
        }
        Ok((file, metadata.len(), metadata.permissions().mode() & 0o111 != 0))
    }

    /// All distributions, by name.
    pub fn distributions(&self) -> Result<Vec<StagedDistribution>, AddError> {
        let site = Path::new(&self.site_packages);
        let mut found = Vec::new();
        for name in self.list(&self.site_packages).map_err(AddError::at(site))? {
            if let Some(stem) = name.strip_suffix(".dist-info") {
                found.push(self.distribution(&name, stem)?);
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        disagreement(&found).map_or(Ok(found), |conflict| Err(conflict.into()))
    }

    fn distribution(&self, folder: &str, stem: &str) -> Result<StagedDistribution, AddError> {
        let hostile = |reason: String| AddError::Hostile { distribution: stem.to_owned(), reason };
        let (name, version) = stem
            .rsplit_once('-')
            .ok_or_else(|| hostile(format!("{folder} does not name a version")))?;
        let path = format!("{}/{folder}/RECORD", self.site_packages);
        let (text, _) = self.read(&path).map_err(|error| hostile(format!("{path}: {error}")))?;
        let text = String::from_utf8(text).map_err(|_| hostile(format!("{path} is not UTF-8")))?;
        let mut files = BTreeSet::from([path.clone()]);
        let mut claims = BTreeMap::new();
        let mut kept = String::new();
        for line in record::parse(&text) {
            let resolved = record::resolve(&self.site_packages, &line.path)
                .ok_or_else(|| hostile(format!("RECORD names {:?}, outside of it", line.path)))?;
            let own = resolved.strip_prefix(&format!("{}/{folder}/", self.site_packages));
            if own.is_some_and(|own| OF_THE_INSTALLER.contains(&own)) {
                continue;
            }
            kept.push_str(&line.text);
            kept.push('\n');
            files.extend(self.bytecode_of(&resolved));
            // Some wheels bring bytecode; what is there now was made here.
            let is_made_here = self.is_own_bytecode(&resolved)
                || own.is_some_and(|own| WRITTEN_OVER.contains(&own));
            if !is_made_here {
                claims.insert(resolved.clone(), line.claim);
            }
            files.insert(resolved);
        }
        // RECORD may list bytecode that was not made, and signatures that are not installed.
        let files: Vec<String> = files.into_iter().filter(|path| self.exists(path)).collect();
        let modules = self.modules(&files);
        Ok(StagedDistribution {
            name: normalise(name),
            version: version.to_owned(),
            record: (path, kept.into_bytes()),
            files,
            claims,
            modules,
        })
    }

    /// Whether a file is bytecode of the interpreter's.
    fn is_own_bytecode(&self, path: &str) -> bool {
        path.contains("/__pycache__/") && path.ends_with(&format!(".{}.pyc", self.cache_tag))
    }

    fn bytecode_of(&self, path: &str) -> Option<String> {
        let source = path.strip_suffix(".py")?;
        let (folder, name) = source.rsplit_once('/')?;
        Some(format!("{folder}/__pycache__/{name}.{}.pyc", self.cache_tag))
    }

    /// Top-level names: single modules, extension modules, and packages with an `__init__`.
    fn modules(&self, files: &[String]) -> Vec<String> {
        let below = files.iter().filter_map(|path| {
            path.strip_prefix(&self.site_packages).and_then(|path| path.strip_prefix('/'))
        });
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

    fn exists(&self, path: &str) -> bool {
        match self.open_below(path, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
            Ok(_) => true,
            // Bytecode has a longer name than its source, and is not made where that is too long.
            Err(error) => {
                !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename)
            }
        }
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

/// Two distributions that have installed one path and do not both say the same of its content:
/// only one of them has it there now.
fn disagreement(all: &[StagedDistribution]) -> Option<Conflict> {
    let mut owners: HashMap<&str, (&StagedDistribution, &Claim)> = HashMap::new();
    for one in all {
        for (path, claim) in &one.claims {
            if let Some((other, known)) = owners.insert(path, (one, claim))
                && !known.agrees(claim)
            {
                let label = |one: &StagedDistribution| format!("{} {}", one.name, one.version);
                return Some(Conflict {
                    path: path.clone(),
                    first: label(other),
                    second: label(one),
                });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const SITE: &str = "lib/python3.11/site-packages";

    fn stage(record: &str) -> (tempfile::TempDir, Staged) {
        let root = tempfile::tempdir().unwrap();
        let site = root.path().join(SITE);
        fs::create_dir_all(site.join("thing-1.0.dist-info")).unwrap();
        fs::create_dir_all(site.join("thing/__pycache__")).unwrap();
        fs::write(site.join("thing/__init__.py"), "x = 1\n").unwrap();
        fs::write(site.join("thing/__pycache__/__init__.cpython-311.pyc"), "code").unwrap();
        fs::write(site.join("thing-1.0.dist-info/RECORD"), record).unwrap();
        fs::write(site.join("thing-1.0.dist-info/REQUESTED"), "").unwrap();
        let staged = Staged::open(root.path(), SITE.to_owned(), "cpython-311".to_owned()).unwrap();
        (root, staged)
    }

    #[test]
    fn a_distribution_has_its_bytecode_and_not_the_installers_files() {
        let (_root, staged) = stage(
            "thing/__init__.py,sha256=x,6\nthing-1.0.dist-info/REQUESTED,,0\nthing/gone.py,,\n\
             thing/__pycache__/__init__.cpython-311.pyc,sha256=of-the-wheels-own,99\n\
             thing-1.0.dist-info/RECORD,,\n",
        );
        let found = &staged.distributions().unwrap()[0];
        assert_eq!((found.name.as_str(), found.version.as_str()), ("thing", "1.0"));
        assert_eq!(found.modules, ["thing"]);
        assert_eq!(found.files.len(), 3, "{:?}", found.files);
        // Bytecode is made here, whatever the wheel has brought.
        assert!(
            found.claims.keys().all(|path| !path.contains("__pycache__")),
            "{:?}",
            found.claims
        );
        assert!(!String::from_utf8_lossy(&found.record.1).contains("REQUESTED"));
    }

    #[test]
    fn what_the_installer_has_written_over_is_no_lie_of_the_wheel() {
        let name = "n".repeat(250);
        let (root, staged) = stage(&format!(
            "thing-1.0.dist-info/INSTALLER,sha256=x,6\n{name}.py,,\nthing/__init__.py,sha256=x,6\n"
        ));
        let site = root.path().join(SITE);
        fs::write(site.join("thing-1.0.dist-info/INSTALLER"), "uv").unwrap();
        fs::write(site.join(format!("{name}.py")), "").unwrap();
        let found = &staged.distributions().unwrap()[0];
        let paths: Vec<_> = found.claims.keys().map(String::as_str).collect();
        assert_eq!(paths.len(), 2, "{paths:?}");
        assert!(found.files.iter().any(|path| path.ends_with("/INSTALLER")));
        assert!(!found.files.iter().any(|path| path.contains("nnn.cpython")));
    }

    #[test]
    fn what_leads_outside_is_refused() {
        let (_root, staged) = stage("../../../../etc/passwd,,\n");
        assert!(matches!(staged.distributions(), Err(AddError::Hostile { .. })));
        let (root, staged) = stage("thing/link.py,,\n");
        symlink("/etc/passwd", root.path().join(SITE).join("thing/link.py")).unwrap();
        symlink("/etc", root.path().join(SITE).join("away")).unwrap();
        assert!(staged.read(&format!("{SITE}/thing/link.py")).is_err());
        assert!(staged.read(&format!("{SITE}/away/passwd")).is_err());
        assert!(staged.read("../passwd").is_err());
    }
}
