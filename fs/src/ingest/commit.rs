//! Storing what was staged: digest on several threads, write what is new in the order in which
//! imports read it, then one transaction. Whatever fails before that leaves nothing that anybody
//! sees.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::staged::{Staged, StagedDistribution};
use super::trace::Recorded;
use super::{AddError, pack};
use crate::catalog::{Catalog, FileContent, NewDistribution, NewObject};
use crate::id::Digest;
use crate::store::append::Appender;
use crate::store::segment::FRAME_BYTES;
use crate::trace::Trace;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A distribution to be stored, and which artifact it was installed from.
#[derive(Debug)]
pub struct Incoming {
    /// Digest of name, version and the lock's hashes.
    pub artifact: String,
    /// What was installed.
    pub staged: StagedDistribution,
}

/// A staged file.
#[derive(Debug, Clone, Copy)]
struct File<'a> {
    owner: &'a StagedDistribution,
    /// Its place among the distributions.
    place: usize,
    path: &'a str,
}

/// A staged file whose content is known.
#[derive(Debug)]
pub struct Digested<'a> {
    file: File<'a>,
    content: FileContent,
    size: u64,
}

/// Digests of all files of distributions of one staging folder, in no order; RECORD's claims are
/// held against them.
pub fn digest<'a>(
    staged: &Staged,
    incoming: &'a [Incoming],
) -> Result<Vec<Digested<'a>>, AddError> {
    let files = incoming.iter().enumerate().flat_map(|(place, one)| {
        let owner = &one.staged;
        owner.files.iter().map(move |path| File { owner, place, path })
    });
    digest_all(staged, &files.collect::<Vec<_>>())
}

/// What one staging folder has, ready to be stored.
#[derive(Debug)]
pub struct Installed<'a> {
    /// The folder.
    pub staged: &'a Staged,
    /// Its distributions.
    pub incoming: &'a [Incoming],
    /// Their files.
    pub digested: Vec<Digested<'a>>,
    /// What imports were seen to read.
    pub recorded: Recorded,
    /// Cache tag and platform that they were installed for.
    pub interpreter: String,
}

/// Stores what was installed. `told` hears how many bytes are written, and of how many.
///
/// One at a time for a catalog: what is known must not change meanwhile.
pub fn commit(
    catalog: &Catalog,
    segments: &Path,
    installed: Installed<'_>,
    told: &mut dyn FnMut(u64, u64),
) -> Result<(), AddError> {
    let Installed { staged, incoming, mut digested, recorded, interpreter } = installed;
    sort_as_read(&mut digested, &recorded.order);
    let mut known = catalog.sound_objects()?;
    let mut fresh = Vec::new();
    for one in &digested {
        if let Some(digest) = one.content.object.filter(|digest| known.insert(*digest)) {
            fresh.push((digest, one));
        }
    }
    let sizes: Vec<u64> = fresh.iter().map(|(_, one)| one.size).collect();
    let read = |object: usize, from: u64, part: &mut [u8]| {
        fresh.get(object).map_or(Ok(()), |(_, one)| one.file.read(staged, from, part))
    };
    let appender = Appender::begin(segments, catalog.begin_segment()?)?;
    let segment = appender.id();
    let (locations, bytes) = pack::write(appender, &sizes, read, told)?;
    let objects = fresh.iter().zip(locations);
    let objects: Vec<NewObject> =
        objects.map(|((digest, _), location)| NewObject { digest: *digest, location }).collect();
    let distributions = assemble(incoming, &digested, &recorded.trace, &interpreter);
    let stored = catalog.store(segment, bytes, &objects, &distributions);
    Ok(pack::entered(segments, segment, stored)?)
}

/// First what was seen to be read, in that order, but large files, of which only parts are, after
/// small ones; then bytecode, then the rest, each by path.
fn sort_as_read(files: &mut [Digested<'_>], order: &[String]) {
    let ranks: HashMap<&str, usize> = order.iter().map(String::as_str).zip(0..).collect();
    files.sort_by_cached_key(|one| {
        let path = one.file.path;
        let rank = ranks.get(path).copied();
        let is_large = rank.is_some() && one.size >= FRAME_BYTES as u64;
        (rank.is_none(), is_large, rank, !is_bytecode(path), path)
    });
}

impl File<'_> {
    /// What RECORD is to say instead of what it says, where this file is that.
    fn replaced(&self) -> Option<&[u8]> {
        let (path, content) = &self.owner.record;
        (self.path == path).then_some(content)
    }

    /// Digest and size of its content, and whether it may be executed.
    fn digest(&self, staged: &Staged) -> Result<(FileContent, u64), AddError> {
        let (mut file, mut size, executable) =
            staged.open_file(self.path).map_err(|error| self.hostile(error))?;
        let mut hasher = blake3::Hasher::new();
        if let Some(content) = self.replaced() {
            hasher.update(content);
            size = content.len() as u64;
        } else {
            let mut sum = Sha256::new();
            let mut buffer = vec![0; BUFFER_BYTES];
            loop {
                let read = file.read(&mut buffer).map_err(|error| self.hostile(error))?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                sum.update(&buffer[..read]);
            }
            let claim = self.owner.claims.get(self.path);
            if claim.is_some_and(|claim| !claim.holds(size, &sum.finalize())) {
                return Err(self.hostile("it is not what its RECORD says it is"));
            }
        }
        let object = (size > 0).then(|| Digest(*hasher.finalize().as_bytes()));
        Ok((FileContent { object, executable }, size))
    }

    fn read(&self, staged: &Staged, from: u64, part: &mut [u8]) -> Result<(), AddError> {
        if let Some(content) = self.replaced() {
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            if let Some(wanted) = content.get(from..from.saturating_add(part.len())) {
                part.copy_from_slice(wanted);
            }
            return Ok(());
        }
        let read =
            staged.open_file(self.path).and_then(|(file, ..)| file.read_exact_at(part, from));
        read.map_err(|error| self.hostile(error))
    }

    fn hostile(&self, error: impl std::fmt::Display) -> AddError {
        AddError::Hostile {
            distribution: self.owner.name.clone(),
            reason: format!("{}: {error}", self.path),
        }
    }
}

/// All files with their digests, in no order.
fn digest_all<'a>(staged: &Staged, files: &[File<'a>]) -> Result<Vec<Digested<'a>>, AddError> {
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = || -> Result<Vec<Digested<'a>>, AddError> {
        let mut done = Vec::new();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (content, size) = file.digest(staged)?;
            done.push(Digested { file: *file, content, size });
        }
        Ok(done)
    };
    thread::scope(|scope| {
        let shares: Vec<_> = (0..workers).map(|_| scope.spawn(share)).collect();
        let mut all = Vec::with_capacity(files.len());
        for share in shares {
            all.extend(share.join().unwrap_or_else(|_| {
                Err(AddError::Lock("reading the staged files has panicked".to_owned()))
            })?);
        }
        Ok(all)
    })
}

fn assemble(
    incoming: &[Incoming],
    digested: &[Digested<'_>],
    trace: &Trace,
    interpreter: &str,
) -> Vec<NewDistribution> {
    let mut contents: Vec<Vec<(String, FileContent)>> = vec![Vec::new(); incoming.len()];
    for Digested { file, content, .. } in digested {
        contents[file.place].push((file.path.to_owned(), *content));
    }
    let with_files = incoming.iter().zip(contents);
    with_files
        .map(|(Incoming { artifact, staged }, mut files)| {
            files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            let own = trace.part(&files.iter().map(|(path, _)| &**path).collect());
            NewDistribution {
                trace: own.and_then(|own| own.encode().ok()),
                artifact: artifact.clone(),
                interpreter: interpreter.to_owned(),
                digest: digest_of(&files),
                name: staged.name.clone(),
                version: staged.version.clone(),
                modules: staged.modules.clone(),
                files,
            }
        })
        .collect()
}

/// Digest of a distribution's files. Bytecode is made from them and left out: CPython does not
/// promise to make the same twice.
pub fn digest_of(files: &[(String, FileContent)]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for (path, content) in files.iter().filter(|(path, _)| !is_bytecode(path)) {
        hasher.update(path.as_bytes()).update(&[0, content.executable.into()]);
        hasher.update(content.object.map_or([0; 32], |digest| digest.0).as_slice());
    }
    Digest(*hasher.finalize().as_bytes())
}

/// Whether a file is bytecode, which CPython does not promise to make the same twice.
pub fn is_bytecode(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "pyc")
}
