//! Comparing catalog, segments and views with each other.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::quarantine::{quarantine, quarantine_findings};
use super::{AGAIN, Finding, REPAIR, RESTORE};
use crate::catalog::{DistributionRow, Snapshot};
use crate::gc::mark::{Roots, mark};
use crate::ingest::commit::digest_of;
use crate::ingest::resolve::lock::Locked;
use crate::repository::{Mounted, Repository, RepositoryError};
use crate::store::StoreError;
use crate::store::sealed::Segment;
use crate::view::index::Index;
use crate::view::published::{Published, index_path};

/// Advice about files that nobody knows.
const RESTART: &str = "nothing needs it; the next `pipsqueak up` removes it";
/// Advice about an index that could not be written, as on a disk that was full.
const WRITE: &str = "`pipsqueak store gc` writes it";

/// Compares catalog, segments and views; what is wrong, and how many bytes were compared.
/// Objects that readers have found damaged are quarantined first. Blocks.
pub fn check(
    repository: &Repository,
    mount: &dyn Mounted,
) -> Result<(Vec<Finding>, u64), RepositoryError> {
    let suspects = mount.suspects().map_err(RepositoryError::Mount)?;
    quarantine(repository, suspects, mount)?;
    let _turn = repository.turn();
    let mut checking = Checking { repository, findings: Vec::new(), bytes: 0 };
    checking.catalog()?;
    let snapshot = repository.catalog.snapshot()?;
    checking.segments(&snapshot)?;
    checking.views(&snapshot)?;
    checking.published();
    checking.distributions(&snapshot)?;
    checking.environments(&snapshot)?;
    checking.strangers(&snapshot)?;
    let Checking { mut findings, bytes, .. } = checking;
    findings.extend(quarantine_findings(repository)?);
    findings.sort_unstable();
    findings.dedup();
    Ok((findings, bytes))
}

struct Checking<'a> {
    repository: &'a Repository,
    findings: Vec<Finding>,
    bytes: u64,
}

impl Checking<'_> {
    fn find(&mut self, file: &Path, what: impl Into<String>, advice: &'static str) {
        self.findings.push(Finding { file: file.to_owned(), what: what.into(), advice });
    }

    fn catalog(&mut self) -> Result<(), RepositoryError> {
        let path = self.repository.catalog.path().to_owned();
        for what in self.repository.catalog.integrity()? {
            self.find(&path, what, RESTORE);
        }
        Ok(())
    }

    fn segments(&mut self, snapshot: &Snapshot) -> Result<(), RepositoryError> {
        for (id, length) in &snapshot.segments {
            let path = self.repository.segments.path(*id);
            let segment = match Segment::open(&*self.repository.segments, *id) {
                Ok(segment) => segment,
                Err(error) => {
                    self.find(&path, error.to_string(), REPAIR);
                    continue;
                }
            };
            self.bytes += length;
            let found = self.repository.segments.length(*id).unwrap_or(0);
            if found != *length {
                self.find(&path, format!("it has {found} bytes and should have {length}"), REPAIR);
            }
            let mut end = 0;
            for (object, location, _) in self.repository.catalog.objects_in(*id)? {
                let until = location.end();
                if location.position < end || until > segment.directory().content() {
                    let file = self.repository.catalog.path();
                    let what = format!("object {object} cannot be where it is said to be");
                    self.find(file, what, RESTORE);
                }
                end = until;
            }
        }
        Ok(())
    }

    fn views(&mut self, snapshot: &Snapshot) -> Result<(), RepositoryError> {
        let reached = mark(snapshot, &Roots::default()).views;
        for (digest, row) in &snapshot.views {
            let path = index_path(&self.repository.views, digest);
            if row.unreached.is_some() && !path.exists() {
                // On its way out.
                continue;
            }
            let view = self.repository.catalog.view(digest)?;
            if view.is_none_or(|view| view.stale) {
                // An addition that failed leaves one that nothing reads.
                if reached.contains(digest) {
                    self.find(&path, "it is not written yet", WRITE);
                }
                continue;
            }
            if let Err(error) = Index::open(&path) {
                self.find(&path, error.to_string(), REPAIR);
                continue;
            }
            let compiled = self.repository.views().compiled(digest)?;
            let written = fs::read(&path).map_err(StoreError::at(&path))?;
            self.bytes += written.len() as u64;
            if compiled != written {
                let what = "index and catalog say different things, and the index is as it was \
                            written";
                self.find(&path, what, RESTORE);
            }
        }
        Ok(())
    }

    fn published(&mut self) {
        let folder = &self.repository.views;
        let path = folder.join(Published::FILE);
        let expected = self.repository.published();
        match (Published::read(folder), expected) {
            (Ok(found), Ok(expected)) if found.shows_the_same(&expected) => {}
            (Ok(_), Ok(_)) => self.find(&path, "it does not say what the catalog says", REPAIR),
            (Err(error), _) => self.find(&path, error.to_string(), REPAIR),
            (_, Err(error)) => self.find(&path, error.to_string(), RESTORE),
        }
    }

    fn distributions(&mut self, snapshot: &Snapshot) -> Result<(), RepositoryError> {
        let file = self.repository.catalog.path().to_owned();
        for (id, row) in &snapshot.distributions {
            // What no environment has is on its way out.
            let is_needed = snapshot.environments.values().any(|one| one.members.contains(id));
            self.findings.extend(earlier(&file, row).filter(|_| is_needed));
            let files = self.repository.catalog.files(*id)?;
            if !is_venv(row) && digest_of(&files).to_string() != row.digest {
                let what =
                    format!("the files of {} {} are not what was stored", row.name, row.version);
                self.find(&file, what, RESTORE);
            }
        }
        Ok(())
    }

    /// Every locked distribution must be a member.
    fn environments(&mut self, snapshot: &Snapshot) -> Result<(), RepositoryError> {
        let file = self.repository.catalog.path().to_owned();
        for (name, row) in &snapshot.environments {
            let Some(environment) = self.repository.catalog.environment(name)? else { continue };
            let members = row.members.iter().filter_map(|id| snapshot.distributions.get(id));
            let members: Vec<_> = members.collect();
            if members.iter().any(|row| earlier(&file, row).is_some()) {
                // Earlier versions had other names for the same.
                continue;
            }
            let mut artifacts: Vec<&str> = members.iter().map(|row| &*row.artifact).collect();
            artifacts.sort_unstable();
            let locked = super::locked(&environment).map(|(_, locked)| {
                let mut locked: Vec<_> = locked.iter().map(Locked::artifact).collect();
                locked.sort_unstable();
                locked
            });
            if !locked.is_ok_and(|locked| locked == artifacts) {
                let what = format!("the lock of environment {name} is not what it is made of");
                self.find(&file, what, RESTORE);
            }
        }
        Ok(())
    }

    /// Files that nobody knows.
    fn strangers(&mut self, snapshot: &Snapshot) -> Result<(), RepositoryError> {
        const STRANGE: &str = "the catalog does not know it";
        for listed in self.repository.segments.list()? {
            if !listed.segment.is_some_and(|id| snapshot.segments.contains_key(&id)) {
                self.find(&listed.path, STRANGE, RESTART);
            }
        }
        let views = &self.repository.views;
        let mut known: HashSet<PathBuf> =
            snapshot.views.keys().map(|digest| index_path(views, digest)).collect();
        known.insert(views.join(Published::FILE));
        for entry in fs::read_dir(views).map_err(StoreError::at(views))? {
            let path = entry.map_err(StoreError::at(views))?.path();
            if !known.contains(&path) {
                self.find(&path, STRANGE, RESTART);
            }
        }
        Ok(())
    }
}

/// True if a row is what every environment of an interpreter has besides packages.
pub fn is_venv(row: &DistributionRow) -> bool {
    row.artifact.starts_with("venv-")
}

/// The distributions that were stored before each was unpacked by itself.
fn earlier(catalog: &Path, row: &DistributionRow) -> Option<Finding> {
    let is_earlier = row.archive.is_none() && !is_venv(row);
    is_earlier.then(|| Finding {
        file: catalog.to_owned(),
        what: format!(
            "{} {} was stored by an earlier version, which installed several distributions into one \
             folder",
            row.name, row.version
        ),
        advice: AGAIN,
    })
}
