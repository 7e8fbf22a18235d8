//! Archives that were downloaded, by their digests. Nothing but this process writes here, and what is
//! here is hashed again whenever it is used.
//!
//! ```text
//! CACHE/archives/ALGORITHM-DIGEST     the archive with that digest
//! ```

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::ingest::AddError;
use crate::ingest::archive::downloads::{ARCHIVES, HALF};
use crate::ingest::resolve::lock::Locked;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// An archive as it lies in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedArchive {
    /// Path of it.
    pub path: PathBuf,
    /// Size of it, in bytes.
    pub bytes: u64,
}

/// The folder of archives.
#[derive(Debug, Clone)]
pub struct ArchiveCache {
    folder: PathBuf,
}

/// An archive that has a digest that was asked for.
#[derive(Debug, Clone)]
pub struct Verified {
    /// File of the archive, open.
    pub file: Arc<File>,
    /// Digest that was asked for, `algorithm:digest`.
    pub hash: String,
}

impl ArchiveCache {
    /// The folder in `cache`, made where it is not there.
    pub fn open(cache: &Path) -> io::Result<Self> {
        let folder = cache.join(ARCHIVES);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Archives that nobody has used for so long, and that have none of the digests `needed`.
    pub fn unused(&self, needed: &HashSet<&str>, time: Duration) -> io::Result<Vec<CachedArchive>> {
        let needed: HashSet<PathBuf> =
            needed.iter().filter_map(|hash| self.path(hash).ok()).collect();
        let mut unused = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (path, found) = (entry.path(), entry.metadata()?);
            let is_half = entry.file_name().to_string_lossy().starts_with(HALF);
            let is_old = found.modified()?.elapsed().is_ok_and(|past| past >= time);
            if found.is_file() && is_old && !is_half && !needed.contains(&path) {
                unused.push(CachedArchive { path, bytes: found.len() });
            }
        }
        Ok(unused)
    }

    /// The archive of a distribution, where it is here. One that is not what its name says is removed.
    pub fn find(&self, locked: &Locked) -> Result<Option<Verified>, AddError> {
        for hash in &locked.hashes {
            if let Some(verified) = self.with(hash)? {
                return Ok(Some(verified));
            }
        }
        Ok(None)
    }

    /// The archive with a digest, `algorithm:digest`, where it is here.
    pub fn with(&self, hash: &str) -> Result<Option<Verified>, AddError> {
        let path = self.path(hash)?;
        let file = match open_plain(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(AddError::at(&path)(error)),
        };
        let mut sums = Sums::of([hash]);
        copy(&file, &mut sums, None).map_err(AddError::at(&path))?;
        if sums.has(hash) {
            // By which the unused are known.
            if let Err(error) = file.set_modified(SystemTime::now()) {
                tracing::warn!(%error, archive = %path.display(), "an archive's use is not noted");
            }
            return Ok(Some(Verified { file: Arc::new(file), hash: hash.to_owned() }));
        }
        tracing::warn!(archive = %path.display(), "an archive is not what it was, and is removed");
        fs::remove_file(&path).map_err(AddError::at(&path))?;
        Ok(None)
    }

    /// True if there is one with a digest that a distribution may have, without a look at it.
    pub fn may_have(&self, locked: &Locked) -> bool {
        locked.hashes.iter().any(|hash| self.path(hash).is_ok_and(|path| path.exists()))
    }

    /// Size of the archive of a distribution, 0 if it is not here.
    pub fn size(&self, locked: &Locked) -> u64 {
        let paths = locked.hashes.iter().filter_map(|hash| self.path(hash).ok());
        paths
            .filter_map(|path| path.symlink_metadata().ok())
            .map(|one| one.len())
            .max()
            .unwrap_or(0)
    }

    /// Takes in the archive of a distribution from where others may have written it; `None` if it has no
    /// digest that was asked for.
    pub fn take(&self, locked: &Locked, from: &File) -> Result<Option<Verified>, AddError> {
        let at = AddError::at(&self.folder);
        let mut new =
            tempfile::Builder::new().prefix(HALF).tempfile_in(&self.folder).map_err(&at)?;
        let mut sums = Sums::of(locked.hashes.iter().map(String::as_str));
        copy(from, &mut sums, Some(new.as_file_mut())).map_err(&at)?;
        let Some(hash) = locked.hashes.iter().find(|hash| sums.has(hash)) else { return Ok(None) };
        let file = new.persist(self.path(hash)?).map_err(|error| at(error.error))?;
        Ok(Some(Verified { file: Arc::new(file), hash: hash.clone() }))
    }

    /// Path of the archive with a digest. Refuses a digest that is none, or that others can be made to
    /// have.
    fn path(&self, hash: &str) -> Result<PathBuf, AddError> {
        let (algorithm, digest) = hash.split_once(':').unwrap_or_default();
        let length = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => 0,
        };
        let is_digest = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if length == 0 || digest.len() != length || !is_digest {
            return Err(AddError::unsatisfiable(format!(
                "{hash:?} is no digest that archives are known by; give a SHA-256"
            )));
        }
        Ok(self.folder.join(format!("{algorithm}-{}", digest.to_ascii_lowercase())))
    }
}

/// Opens a plain file, and nothing that only leads to one.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is no plain file"))
}

/// Reads a file to its end, and writes what it has to another.
fn copy(mut from: &File, sums: &mut Sums, mut to: Option<&mut File>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        sums.update(&buffer[..read]);
        if let Some(to) = &mut to {
            to.write_all(&buffer[..read])?;
        }
    }
}

/// Digests by the algorithms that somebody asks for.
#[derive(Default)]
struct Sums {
    sha256: Option<Sha256>,
    sha384: Option<Sha384>,
    sha512: Option<Sha512>,
}

impl Sums {
    fn of<'a>(hashes: impl IntoIterator<Item = &'a str>) -> Self {
        let mut sums = Self::default();
        for hash in hashes {
            match hash.split_once(':').map(|(algorithm, _)| algorithm) {
                Some("sha256") => sums.sha256 = Some(Sha256::new()),
                Some("sha384") => sums.sha384 = Some(Sha384::new()),
                Some("sha512") => sums.sha512 = Some(Sha512::new()),
                _ => {}
            }
        }
        sums
    }

    fn update(&mut self, part: &[u8]) {
        self.sha256.iter_mut().for_each(|sum| sum.update(part));
        self.sha384.iter_mut().for_each(|sum| sum.update(part));
        self.sha512.iter_mut().for_each(|sum| sum.update(part));
    }

    fn has(&self, hash: &str) -> bool {
        let (algorithm, digest) = hash.split_once(':').unwrap_or_default();
        let found = match algorithm {
            "sha256" => self.sha256.clone().map(|sum| sum.finalize().to_vec()),
            "sha384" => self.sha384.clone().map(|sum| sum.finalize().to_vec()),
            "sha512" => self.sha512.clone().map(|sum| sum.finalize().to_vec()),
            _ => None,
        };
        found.is_some_and(|found| hexadecimal(&found).eq_ignore_ascii_case(digest))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// SHA-256 and SHA-512 of nothing.
    const NOTHING: [&str; 2] = [
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
         47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
    ];

    fn locked(hashes: &[&str]) -> Locked {
        Locked {
            name: "x".to_owned(),
            version: "1".to_owned(),
            url: None,
            hashes: hashes.iter().map(|hash| (*hash).to_owned()).collect(),
            source: None,
        }
    }

    #[test]
    fn an_archive_is_kept_by_a_digest_that_it_has() {
        let (cache, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kept = ArchiveCache::open(cache.path()).unwrap();
        let path = elsewhere.path().join("x.whl");
        fs::write(&path, "").unwrap();
        let from = File::open(&path).unwrap();
        for hash in NOTHING {
            let other = format!("sha256:{}", "0".repeat(64));
            let wanted = locked(&[&other, hash]);
            assert!(!kept.may_have(&wanted) && kept.find(&wanted).unwrap().is_none());
            assert_eq!(kept.take(&wanted, &from).unwrap().unwrap().hash, hash);
            assert!(kept.may_have(&wanted));
            assert_eq!(kept.find(&wanted).unwrap().unwrap().hash, hash);
            assert!(kept.take(&locked(&[&other]), &from).unwrap().is_none());
        }
        assert_eq!(fs::read_dir(cache.path().join("archives")).unwrap().count(), 2);
        // Nobody has put a link in its place.
        let kept_at = kept.path(NOTHING[0]).unwrap();
        fs::remove_file(&kept_at).unwrap();
        symlink(&path, &kept_at).unwrap();
        assert!(kept.find(&locked(&NOTHING[..1])).is_err());
        for weak in ["md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:../x", "x"] {
            assert!(kept.find(&locked(&[weak])).unwrap_err().is_bad_input(), "{weak}");
        }
    }

    #[test]
    fn archives_that_nobody_uses_nor_needs_are_known_by_their_age() {
        let cache = tempfile::tempdir().unwrap();
        let kept = ArchiveCache::open(cache.path()).unwrap();
        let from = cache.path().join("x.whl");
        fs::write(&from, "").unwrap();
        for hash in NOTHING {
            kept.take(&locked(&[hash]), &File::open(&from).unwrap()).unwrap();
        }
        fs::write(kept.folder().join(".new-x"), "").unwrap();
        let day = Duration::from_secs(24 * 3600);
        let unused = |needed: &[&str]| {
            let needed = needed.iter().copied().collect();
            let mut unused = kept.unused(&needed, 2 * day).unwrap();
            unused.sort_by(|a, b| a.path.cmp(&b.path));
            unused.into_iter().map(|archive| archive.path).collect::<Vec<_>>()
        };
        assert!(unused(&[]).is_empty());
        for entry in fs::read_dir(kept.folder()).unwrap() {
            let file = File::options().write(true).open(entry.unwrap().path()).unwrap();
            file.set_modified(SystemTime::now() - 3 * day).unwrap();
        }
        let paths = NOTHING.map(|hash| kept.path(hash).unwrap());
        assert_eq!(unused(&[]), paths);
        assert_eq!(unused(&NOTHING[..1]), paths[1..]);
        // Each use counts.
        assert!(kept.with(NOTHING[1]).unwrap().is_some());
        assert_eq!(unused(&[]), paths[..1]);
    }

    #[test]
    fn what_was_changed_is_kept_no_more() {
        let cache = tempfile::tempdir().unwrap();
        let kept = ArchiveCache::open(cache.path()).unwrap();
        let from = cache.path().join("x.whl");
        fs::write(&from, "").unwrap();
        let wanted = locked(&NOTHING[..1]);
        kept.take(&wanted, &File::open(&from).unwrap()).unwrap();
        fs::write(kept.path(NOTHING[0]).unwrap(), "other").unwrap();
        assert!(kept.find(&wanted).unwrap().is_none() && !kept.may_have(&wanted));
    }
}
