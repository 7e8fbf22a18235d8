//! Storing what was staged: read, digest and compress on several threads, append on one, then one
//! transaction. Whatever fails before that leaves nothing that anybody sees.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::AddError;
use super::staged::{Staged, StagedDistribution};
use crate::catalog::{Catalog, FileContent, NewDistribution, NewObject};
use crate::id::Digest;
use crate::store::append::Appender;
use crate::store::segment::FrameWriter;
use crate::view::compile::Placed;

/// Objects that wait for the appending thread, at most: bounds memory to a few large files.
const WAITING: usize = 8;

/// A distribution to be stored, and which artifact it was installed from.
#[derive(Debug)]
pub struct Incoming {
    /// Digest of name, version and the lock's hashes.
    pub artifact: String,
    /// What was installed.
    pub staged: StagedDistribution,
}

/// A new object's content, compressed.
struct Packed {
    digest: Digest,
    size: u64,
    frames: Vec<Vec<u8>>,
}

/// Stores distributions of one staging folder. `told` hears of each file that is done.
///
/// One at a time for a catalog: what is known must not change meanwhile.
pub fn commit(
    catalog: &Catalog,
    segments: &Path,
    staged: &Staged,
    incoming: Vec<Incoming>,
    interpreter: &str,
    told: &mut dyn FnMut(u64, u64),
) -> Result<(), AddError> {
    let files: Vec<(usize, &str)> = incoming
        .iter()
        .enumerate()
        .flat_map(|(owner, one)| one.staged.files.iter().map(move |path| (owner, path.as_str())))
        .collect();
    let known = Mutex::new(catalog.known_objects()?);
    let mut appender = Appender::begin(segments, catalog.begin_segment()?)?;
    let total = files.len() as u64;
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);

    let mut objects = Vec::new();
    let contents = thread::scope(|scope| -> Result<Vec<_>, AddError> {
        let (packed, arriving) = sync_channel::<Packed>(WAITING);
        let readers: Vec<_> = (0..workers)
            .map(|_| {
                let (packed, files, known, next, incoming) =
                    (packed.clone(), &files, &known, &next, &incoming);
                scope.spawn(move || pack(staged, incoming, files, next, known, &packed))
            })
            .collect();
        drop(packed);
        for Packed { digest, size, frames } in arriving {
            let offset = appender.append(&frames)?;
            let lengths = frames.iter().map(|frame| u32::try_from(frame.len()).unwrap_or(u32::MAX));
            let placed = Placed { segment: appender.id(), offset, size, frames: lengths.collect() };
            objects.push(NewObject { digest, placed });
            told(next.load(Ordering::Relaxed).min(files.len()) as u64, total);
        }
        let mut contents = Vec::with_capacity(files.len());
        for reader in readers {
            let read = reader.join().unwrap_or_else(|_| {
                Err(AddError::Lock("reading the staged files has panicked".to_owned()))
            });
            contents.extend(read?);
        }
        Ok(contents)
    })?;

    let distributions = assemble(incoming, contents, interpreter);
    let segment = appender.id();
    let bytes = appender.seal()?;
    Ok(catalog.store(segment, bytes, &objects, &distributions)?)
}

/// One thread's share: the owner, path and content of each file that it has read.
fn pack(
    staged: &Staged,
    incoming: &[Incoming],
    files: &[(usize, &str)],
    next: &AtomicUsize,
    known: &Mutex<HashSet<Digest>>,
    packed: &SyncSender<Packed>,
) -> Result<Vec<(usize, String, FileContent)>, AddError> {
    let mut writer = FrameWriter::new().map_err(AddError::at(Path::new("zstd")))?;
    let mut read = Vec::new();
    while let Some((owner, path)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
        let distribution = &incoming[*owner].staged;
        let (mut content, executable) = staged.read(path).map_err(|error| AddError::Hostile {
            distribution: distribution.name.clone(),
            reason: format!("{path}: {error}"),
        })?;
        if *path == distribution.record.0 {
            content.clone_from(&distribution.record.1);
        }
        let object = (!content.is_empty()).then(|| Digest::of(&content));
        read.push((*owner, (*path).to_owned(), FileContent { object, executable }));
        let Some(digest) = object else { continue };
        if !known.lock().unwrap_or_else(PoisonError::into_inner).insert(digest) {
            continue;
        }
        let frames = writer.frames(&content).map_err(AddError::at(Path::new(path)))?;
        let size = content.len() as u64;
        if packed.send(Packed { digest, size, frames }).is_err() {
            // The appending thread has failed, and says why.
            break;
        }
    }
    Ok(read)
}

fn assemble(
    incoming: Vec<Incoming>,
    contents: Vec<(usize, String, FileContent)>,
    interpreter: &str,
) -> Vec<NewDistribution> {
    let mut files: Vec<Vec<(String, FileContent)>> = vec![Vec::new(); incoming.len()];
    for (owner, path, content) in contents {
        files[owner].push((path, content));
    }
    let with_files = incoming.into_iter().zip(files);
    with_files
        .map(|(Incoming { artifact, staged }, mut files)| {
            files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            NewDistribution {
                artifact,
                interpreter: interpreter.to_owned(),
                digest: digest_of(&files),
                name: staged.name,
                version: staged.version,
                modules: staged.modules,
                files,
            }
        })
        .collect()
}

/// Digest of a distribution's files. Bytecode is made from them and left out: CPython does not
/// promise to make the same twice.
fn digest_of(files: &[(String, FileContent)]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for (path, content) in files.iter().filter(|(path, _)| !is_bytecode(path)) {
        hasher.update(path.as_bytes()).update(&[0, content.executable.into()]);
        hasher.update(content.object.map_or([0; 32], |digest| digest.0).as_slice());
    }
    Digest(*hasher.finalize().as_bytes())
}

fn is_bytecode(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "pyc")
}
