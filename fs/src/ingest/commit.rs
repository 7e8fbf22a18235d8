//! Storing what was unpacked: what is new is written in the order in which imports read it, then one
//! transaction enters it. Whatever fails before that leaves nothing that anybody sees.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::catalog::{Catalog, FileContent, NewDistribution, NewObject, remove_unless_entered};
use crate::id::Digest;
use crate::ingest::AddError;
use crate::ingest::archive::unpacked::{Unpacked, UnpackedFile};
use crate::ingest::trace::Traced;
use crate::store::append::Appender;
use crate::store::pack;
use crate::store::segment::FRAME_BYTES;
use crate::store::segments::Segments;
use crate::trace::Trace;

/// A distribution to be stored, and what it was installed from.
#[derive(Debug)]
pub struct Incoming {
    /// Key of the distribution: see [`crate::ingest::resolve::lock::Locked::artifact`].
    pub artifact: String,
    /// Digest of the archive, `algorithm:digest`.
    pub archive: String,
    /// Files that were unpacked.
    pub unpacked: Unpacked,
}

/// Distributions that are ready to be stored.
#[derive(Debug)]
pub struct Installed<'a> {
    /// The distributions.
    pub incoming: &'a [Incoming],
    /// Record of what imports were seen to read.
    pub traced: Traced,
    /// Cache tag and platform that they were installed for.
    pub interpreter: String,
}

/// Stores what was installed. `told` hears how many bytes are written, and of how many.
///
/// One at a time for a catalog: what is known must not change meanwhile.
pub fn commit(
    catalog: &Catalog,
    segments: &dyn Segments,
    installed: Installed<'_>,
    told: &mut dyn FnMut(u64, u64),
) -> Result<(), AddError> {
    let Installed { incoming, traced, interpreter } = installed;
    let files =
        incoming.iter().flat_map(|one| one.unpacked.files.iter().map(move |file| (one, file)));
    let mut files: Vec<_> = files.collect();
    sort_as_read(&mut files, &traced.order);
    let mut known = catalog.sound_objects()?;
    let mut fresh = Vec::new();
    for (one, file) in files {
        if let Some(digest) = file.content.object.filter(|digest| known.insert(*digest)) {
            fresh.push((digest, &one.unpacked, file));
        }
    }
    let sizes: Vec<u64> = fresh.iter().map(|(.., file)| file.size).collect();
    let read = |object: usize, from: u64, part: &mut [u8]| {
        let Some((_, unpacked, file)) = fresh.get(object) else { return Ok(()) };
        let read = unpacked.open(file).and_then(|content| content.read_exact_at(part, from));
        read.map_err(|error| AddError::Hostile {
            distribution: unpacked.name.clone(),
            reason: format!("{:?}: {error}", file.path),
        })
    };
    let appender = Appender::begin(segments, catalog.begin_segment()?)?;
    let sealed = pack::write(appender, &sizes, read, told)?;
    let digests = fresh.iter().map(|(digest, ..)| *digest);
    let objects = NewObject::all(digests, &sealed);
    let distributions: Vec<_> =
        incoming.iter().map(|one| assemble(one, &traced.trace, &interpreter)).collect();
    let stored = catalog.store(&sealed, &objects, &distributions);
    Ok(remove_unless_entered(segments, sealed.id, stored)?)
}

/// First what was seen to be read, in that order, but large files, of which only parts are, after
/// small ones; then bytecode, then the rest, each by path.
fn sort_as_read(files: &mut [(&Incoming, &UnpackedFile)], order: &[String]) {
    let ranks: HashMap<&str, usize> = order.iter().map(String::as_str).zip(0..).collect();
    files.sort_by_cached_key(|(_, file)| {
        let path = file.path.clone();
        let rank = ranks.get(&*path).copied();
        let is_large = rank.is_some() && file.size >= FRAME_BYTES as u64;
        (rank.is_none(), is_large, rank, !is_bytecode(&path), path)
    });
}

fn assemble(one: &Incoming, trace: &Trace, interpreter: &str) -> NewDistribution {
    let Incoming { artifact, archive, unpacked } = one;
    let files = unpacked.files.iter().map(|file| (file.path.clone(), file.content));
    let mut files: Vec<_> = files.collect();
    files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let own = trace.part(&files.iter().map(|(path, _)| &**path).collect());
    NewDistribution {
        trace: own.and_then(|own| own.encode().ok()),
        artifact: artifact.clone(),
        archive: Some(archive.clone()),
        interpreter: interpreter.to_owned(),
        digest: digest_of(&files),
        name: unpacked.name.clone(),
        version: unpacked.version.clone(),
        modules: unpacked.modules.clone(),
        files,
    }
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

/// True if a file is bytecode, which CPython does not promise to make the same twice.
pub fn is_bytecode(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "pyc")
}
