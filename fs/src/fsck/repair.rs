//! Getting again what is damaged: distributions are installed again from their index, by the hashes
//! in the locks that have them, and what is damaged is taken from there.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::check::check;
use super::quarantine::quarantine;
use super::{COLLECT, Finding};
use crate::catalog::{DistributionRow, NewObject, remove_unless_entered};
use crate::gc::remove_empty;
use crate::id::{Digest, ObjectId};
use crate::ingest::archive::gather::Gather;
use crate::ingest::archive::staging::Staging;
use crate::ingest::archive::unpacked::Unpacked;
use crate::ingest::commit::is_bytecode;
use crate::ingest::confine::{Confine, Stop};
use crate::ingest::resolve::lock::{self, Locked};
use crate::ingest::resolve::uv::Uv;
use crate::ingest::resolve::wanted::Wanted;
use crate::ingest::{AddError, Step};
use crate::interpreter::Interpreter;
use crate::repository::{Mounted, Repository, RepositoryError};
use crate::store::append::Appender;
use crate::store::pack::{self, SealedSegment};
use crate::store::sealed::Segment;
use crate::view::index::Index;
use crate::view::published::index_path;

/// Reason why a distribution cannot be had again.
const UNKNOWN: &str = "no environment has it any more, or an earlier version has stored it; add what \
                       needs it again";

/// Result of a repair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Distributions that were installed again: name and version.
    pub distributions: Vec<String>,
    /// Objects that are whole again.
    pub objects: u64,
    /// Indexes that were written anew.
    pub indexes: u64,
    /// Findings that are left.
    pub findings: Vec<Finding>,
}

/// Confinement of jobs for an interpreter.
pub type Confining<'a> = &'a dyn Fn(&Interpreter) -> io::Result<(Box<dyn Confine>, Interpreter)>;

/// Unpacks a locked distribution for an interpreter into an empty folder.
pub type Install<'a> = &'a dyn Fn(&Wheel, &Path) -> Result<Unpacked, AddError>;

/// A locked distribution, and what it takes to install it again.
#[derive(Debug, Clone)]
pub struct Wheel {
    /// The distribution.
    pub locked: Locked,
    /// The interpreter that it is for.
    pub interpreter: Interpreter,
    /// The requirements that it was chosen for, which say where it is.
    wanted: Wanted,
}

/// A damaged file of a distribution.
#[derive(Debug, Clone)]
struct Lost {
    object: ObjectId,
    digest: Digest,
    path: String,
}

/// A file's content as it was installed again.
struct Again<'a> {
    lost: &'a Lost,
    digest: Digest,
    size: u64,
    source: Replacement<'a>,
}

enum Replacement<'a> {
    Text(&'a [u8]),
    File(std::fs::File),
}

/// Gets again what is damaged, as far as it can be had. Blocks.
pub fn repair(
    repository: &Repository,
    confining: Confining<'_>,
    mount: &dyn Mounted,
    told: &mut dyn FnMut(Step),
) -> Result<Repaired, RepositoryError> {
    let install = |wheel: &Wheel, staging: &Path| {
        let Wheel { locked, interpreter, wanted } = wheel;
        let work = repository.folder()?;
        let _downloading = repository.downloads.hold().map_err(AddError::at(staging))?;
        let (confine, host) = confining(interpreter).map_err(AddError::at(staging))?;
        let mut built = repository.built(interpreter)?;
        let source = locked.source.as_deref().and_then(|source| source.strip_prefix("sha256:"));
        built.digests.extend(source.map(ToOwned::to_owned));
        let uv = Uv {
            binary: &repository.uv,
            cache: Some(repository.downloads.folder()),
            interpreter,
            host: &host,
            work: work.path(),
            built: Some(&built),
            index: &repository.index,
        };
        let (staging, stop) = (Staging::of(staging, None)?, Stop::default());
        let gather = Gather {
            confine: confine.as_ref(),
            uv: &uv,
            archive_cache: &repository.archive_cache,
            wanted,
            staging: &staging,
            stop: &stop,
        };
        let mut gathered = gather.all(&[locked], &mut |_| {})?;
        let rest = gather.rest(&gathered)?;
        let one = gathered.pop().ok_or_else(|| AddError::Lock(UNKNOWN.to_owned()))?;
        let mut unpacked = one.unpacked;
        for (_, bytecode) in rest {
            unpacked.add(bytecode);
        }
        Ok(unpacked)
    };
    repair_with(repository, &install, mount, told)
}

/// Variant of [`repair`] with another way to install a distribution.
pub(crate) fn repair_with(
    repository: &Repository,
    install: Install<'_>,
    mount: &dyn Mounted,
    told: &mut dyn FnMut(Step),
) -> Result<Repaired, RepositoryError> {
    let mut repaired = Repaired::default();
    quarantine_suspects(repository, mount)?;
    let snapshot = repository.catalog.snapshot()?;
    let mut lost: HashSet<ObjectId> =
        repository.catalog.quarantined()?.into_iter().map(|(object, _)| object).collect();
    let mut hopeless = Vec::new();
    for (id, row) in &snapshot.distributions {
        let files = lost_files(repository, *id, row, &lost)?;
        if files.is_empty() {
            continue;
        }
        let name = format!("{} {}", row.name, row.version);
        told(Step::begun(format!("installing {name} again")));
        let again = match how_to_install(repository, row)? {
            Some(Origin::Wheel(wheel)) => install_again(repository, *id, &wheel, install, &files),
            Some(Origin::Text(text)) => write_again(repository, *id, &text, &files),
            None => Err(AddError::Lock(UNKNOWN.to_owned())),
        };
        match again {
            Ok(objects) => {
                repaired.objects += objects;
                repaired.distributions.push(name);
                for file in &files {
                    lost.remove(&file.object);
                }
            }
            Err(error) => hopeless.push((name, error)),
        }
    }
    told(Step::begun("writing indexes".to_owned()));
    repaired.indexes = write_damaged_indexes(repository)?;
    mount.reload(&[]).map_err(RepositoryError::Mount)?;
    remove_empty(repository, mount)?;
    repaired.findings = hopeless
        .into_iter()
        .map(|(name, error)| Finding {
            file: repository.segments.root(),
            what: format!("{name} cannot be had again: {error}"),
            advice: COLLECT,
        })
        .collect();
    repaired.findings.extend(check(repository, mount)?.0);
    Ok(repaired)
}

/// Quarantines what readers have found damaged, and all in segments that cannot be opened.
fn quarantine_suspects(
    repository: &Repository,
    mount: &dyn Mounted,
) -> Result<(), RepositoryError> {
    let mut suspects = mount.suspects().map_err(RepositoryError::Mount)?;
    for (id, length) in repository.catalog.snapshot()?.segments {
        let found = repository.segments.length(id).unwrap_or(0);
        if found != length || Segment::open(&*repository.segments, id).is_err() {
            suspects.extend(repository.catalog.objects_in(id)?.into_iter().map(|(id, ..)| id));
        }
    }
    quarantine(repository, suspects, mount)
}

fn lost_files(
    repository: &Repository,
    id: i64,
    row: &DistributionRow,
    lost: &HashSet<ObjectId>,
) -> Result<Vec<Lost>, RepositoryError> {
    if !row.objects.iter().any(|object| lost.contains(object)) {
        return Ok(Vec::new());
    }
    let files = repository.catalog.files(id)?;
    let objects = repository.catalog.objects_of(id)?;
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for (path, content) in files {
        let object = objects.get(&path).copied();
        if let (Some(object), Some(digest)) = (object, content.object)
            && lost.contains(&object)
            && (seen.insert(object) || is_bytecode(&path))
        {
            found.push(Lost { object, digest, path });
        }
    }
    Ok(found)
}

/// Finds the origin of a distribution: what some environment's lock says.
fn how_to_install(
    repository: &Repository,
    row: &DistributionRow,
) -> Result<Option<Origin>, RepositoryError> {
    for name in repository.catalog.environment_names()? {
        let Some(environment) = repository.catalog.environment(&name)? else { continue };
        let interpreter = environment.interpreter.clone();
        if interpreter.identity() != row.interpreter {
            continue;
        }
        let text = interpreter.pyvenv_cfg();
        if row.digest == Digest::of(text.as_bytes()).to_string() {
            return Ok(Some(Origin::Text(text)));
        }
        let (mut wanted, locked) = super::locked(&environment)?;
        if let Some(locked) = locked.into_iter().find(|one| one.artifact() == row.artifact) {
            wanted.archives.extend(lock::archives(&environment.lock)?);
            return Ok(Some(Origin::Wheel(Box::new(Wheel { locked, interpreter, wanted }))));
        }
    }
    Ok(None)
}

fn install_again(
    repository: &Repository,
    distribution: i64,
    wheel: &Wheel,
    install: Install<'_>,
    files: &[Lost],
) -> Result<u64, AddError> {
    let staging = repository.folder()?;
    let unpacked = install(wheel, staging.path())?;
    let mut again = Vec::with_capacity(files.len());
    for lost in files {
        again.push(Again::read(&unpacked, lost)?);
    }
    let _turn = repository.turn();
    store_again(repository, distribution, &again)
}

fn write_again(
    repository: &Repository,
    distribution: i64,
    text: &str,
    files: &[Lost],
) -> Result<u64, AddError> {
    let again: Vec<_> = files
        .iter()
        .map(|lost| Again {
            lost,
            digest: Digest::of(text.as_bytes()),
            size: text.len() as u64,
            source: Replacement::Text(text.as_bytes()),
        })
        .collect();
    let _turn = repository.turn();
    store_again(repository, distribution, &again)
}

/// Writes contents anew: what is as it was stored under its old number; bytecode, which may be
/// made differently each time, in place of what was there.
fn store_again(
    repository: &Repository,
    distribution: i64,
    again: &[Again<'_>],
) -> Result<u64, AddError> {
    if let Some(other) = again.iter().find(|one| !one.is_same() && !is_bytecode(&one.lost.path)) {
        let path = &other.lost.path;
        return Err(AddError::Lock(format!("{path} is not what was stored")));
    }
    let (same, made): (Vec<_>, Vec<_>) = again.iter().partition(|one| one.is_same());
    if !same.is_empty() {
        let sealed = write_segment(repository, &same)?;
        let objects = same.iter().map(|one| one.lost.object);
        let moved: Vec<_> = objects.zip(sealed.locations.iter().copied()).collect();
        remove_unless_entered(
            &*repository.segments,
            sealed.id,
            repository.catalog.move_objects(&sealed, &moved),
        )?;
    }
    if !made.is_empty() {
        let sealed = write_segment(repository, &made)?;
        let new = NewObject::all(made.iter().map(|one| one.digest), &sealed);
        let files: Vec<_> = made.iter().map(|one| (one.lost.path.clone(), one.digest)).collect();
        let replaced = repository.catalog.replace_files(&sealed, &new, distribution, &files);
        remove_unless_entered(&*repository.segments, sealed.id, replaced)?;
    }
    Ok(again.len() as u64)
}

fn write_segment(
    repository: &Repository,
    contents: &[&Again<'_>],
) -> Result<SealedSegment, AddError> {
    let sizes: Vec<u64> = contents.iter().map(|one| one.size).collect();
    let read = |number: usize, from: u64, part: &mut [u8]| {
        let path = Path::new("staging");
        contents
            .get(number)
            .map_or(Ok(()), |one| one.source.read(from, part))
            .map_err(AddError::at(path))
    };
    let appender = Appender::begin(&*repository.segments, repository.catalog.begin_segment()?)?;
    pack::write(appender, &sizes, read, &mut |_, _| {})
}

/// Writes the indexes that are stale or cannot be read, and the names; how many indexes.
fn write_damaged_indexes(repository: &Repository) -> Result<u64, RepositoryError> {
    let _turn = repository.turn();
    let mut written = repository.views().write_stale()?;
    for (digest, row) in repository.catalog.snapshot()?.views {
        let path = index_path(&repository.views, &digest);
        let is_going = row.unreached.is_some() && !path.exists();
        if !is_going && Index::open(&path).is_err() {
            repository.views().write(&digest)?;
            written += 1;
        }
    }
    repository.show()?;
    Ok(written)
}

/// Origin of a distribution.
enum Origin {
    /// A wheel.
    Wheel(Box<Wheel>),
    /// Only file.
    Text(String),
}

impl<'a> Again<'a> {
    fn read(unpacked: &Unpacked, lost: &'a Lost) -> Result<Self, AddError> {
        let hostile = |error: io::Error| AddError::Hostile {
            distribution: unpacked.name.clone(),
            reason: format!("{}: {error}", lost.path),
        };
        let known = unpacked.files.iter().find(|file| file.path == lost.path);
        let known = known.ok_or_else(|| hostile(io::ErrorKind::NotFound.into()))?;
        let file = unpacked.open(known).map_err(hostile)?;
        let (size, digest) = (known.size, known.content.object);
        let digest = digest.unwrap_or_else(|| Digest::of(&[]));
        Ok(Self { lost, digest, size, source: Replacement::File(file) })
    }

    fn is_same(&self) -> bool {
        self.digest == self.lost.digest
    }
}

impl Replacement<'_> {
    fn read(&self, from: u64, part: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(part, from),
            Self::Text(text) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                let wanted = text.get(from..from.saturating_add(part.len()));
                part.copy_from_slice(wanted.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}
