//! Comparing what is stored with the archives that it is of, where these are still here.

use std::collections::BTreeMap;

use super::check::{check, is_venv};
use super::scrub::scrub;
use super::{FORGED, Finding};
use crate::catalog::{DistributionRow, FileContent};
use crate::ingest::archive::unpack;
use crate::ingest::archive::wheel::layout::Expected;
use crate::ingest::commit::is_bytecode;
use crate::ingest::{AddError, Step, Unit};
use crate::interpreter::Interpreter;
use crate::repository::{Mounted, Repository, RepositoryError};

/// Files of one distribution that are told of, at most.
const MOST_FILES: usize = 10;

/// Compares all content with the catalog, and that with the archives; what is wrong, and how many
/// bytes were read. Blocks.
pub fn check_archives(
    repository: &Repository,
    mount: &dyn Mounted,
    told: &mut dyn FnMut(Step),
) -> Result<(Vec<Finding>, u64), RepositoryError> {
    let (mut findings, _) = check(repository, mount)?;
    let (damaged, bytes) = scrub(repository, None, mount, told)?;
    findings.extend(damaged);
    let interpreters = interpreters(repository)?;
    let rows = repository.catalog.snapshot()?.distributions;
    let total = rows.len() as u64;
    for ((id, row), done) in rows.iter().zip(0..) {
        told(Step { step: "comparing".to_owned(), done, total, unit: Unit::Things });
        if let (Some(hash), Some(interpreter)) = (&row.archive, interpreters.get(&row.interpreter))
            && !is_venv(row)
        {
            let stored = repository.catalog.files(*id)?;
            let what = differences(repository, row, hash, interpreter, &stored)?;
            findings.extend(what.into_iter().map(|what| forged(repository, row, &what)));
        }
    }
    findings.sort_unstable();
    findings.dedup();
    Ok((findings, bytes))
}

/// The differences from a distribution's archive; nothing if that is not here any more.
fn differences(
    repository: &Repository,
    row: &DistributionRow,
    hash: &str,
    interpreter: &Interpreter,
    stored: &[(String, FileContent)],
) -> Result<Vec<String>, RepositoryError> {
    let Some(archive) = repository.archive_cache.with(hash)? else { return Ok(Vec::new()) };
    let expected = Expected { name: &row.name, version: Some(&row.version), interpreter };
    let unpacked = match unpack::look(&archive.file, &expected) {
        Ok(unpacked) => unpacked,
        Err(AddError::Hostile { reason, .. }) => return Ok(vec![reason]),
        Err(error) => return Err(error.into()),
    };
    let archived = unpacked.files.into_iter().map(|file| (file.path, file.content));
    let archived: BTreeMap<String, FileContent> = archived.collect();
    let stored = stored.iter().map(|(path, content)| (&**path, content));
    let stored: BTreeMap<&str, &FileContent> = stored.collect();
    let mut differences = Vec::new();
    for (path, content) in &archived {
        match stored.get(&**path) {
            Some(known) if *known == content => {}
            Some(_) => differences.push(format!("{path:?} is not what its archive has")),
            None => differences.push(format!("{path:?} of its archive is not stored")),
        }
    }
    // Bytecode is of no archive, and is made of a source that was compared.
    let is_made = |path: &str| is_bytecode(path) && path.contains("/__pycache__/");
    for path in stored.keys().filter(|path| !archived.contains_key(**path) && !is_made(path)) {
        differences.push(format!("{path:?} is not in its archive"));
    }
    let more = differences.len().saturating_sub(MOST_FILES);
    differences.truncate(MOST_FILES);
    differences.extend((more > 0).then(|| format!("{more} more files differ")));
    Ok(differences)
}

fn forged(repository: &Repository, row: &DistributionRow, what: &str) -> Finding {
    let what = format!("{} {}: {what}", row.name, row.version);
    Finding { file: repository.catalog.path().to_owned(), what, advice: FORGED }
}

/// The interpreters of environments, by what packages for them are known by.
fn interpreters(repository: &Repository) -> Result<BTreeMap<String, Interpreter>, RepositoryError> {
    let mut found = BTreeMap::new();
    for name in repository.catalog.environment_names()? {
        if let Some(environment) = repository.catalog.environment(&name)? {
            found.insert(environment.interpreter.identity(), environment.interpreter);
        }
    }
    Ok(found)
}
