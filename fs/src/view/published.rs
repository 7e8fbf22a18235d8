//! Which names the mount shows: a small file that the supervisor replaces and the mount rereads.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::replace;
use crate::id::Digest;

/// The names in the mount's folders, and the view behind each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Raised by every change: the folders' modification time in seconds after the mount's epoch,
    /// so that interpreters which have listed them notice.
    pub generation: u64,
    /// Name of each environment, digest of its view.
    pub envs: BTreeMap<String, String>,
    /// `NAME-VERSION-DIGEST` of each distribution, digest of its view.
    pub dists: BTreeMap<String, String>,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Sealed {
    published: Published,
    /// Digest of what is published, as JSON: a name with a flipped bit is still a name.
    checksum: String,
}

impl Published {
    /// The file's name.
    pub const FILE: &str = "published.json";

    /// Reads what was published last; nothing where nothing was yet.
    pub fn read(views: &Path) -> io::Result<Self> {
        let text = match std::fs::read(views.join(Self::FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let Sealed { published, checksum } = serde_json::from_slice(&text)?;
        if published.checksum()? == checksum {
            Ok(published)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is wrong"))
        }
    }

    /// Publishes it.
    pub fn write(&self, views: &Path) -> io::Result<()> {
        let sealed = Sealed { published: self.clone(), checksum: self.checksum()? };
        replace(&views.join(Self::FILE), &serde_json::to_vec(&sealed)?)
    }

    fn checksum(&self) -> io::Result<String> {
        Ok(Digest::of(&serde_json::to_vec(self)?).to_string())
    }
}

/// Where the index of a view is.
pub fn index_path(views: &Path, digest: &str) -> PathBuf {
    views.join(format!("{digest}.index"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_comes_back_and_no_flipped_bit_goes_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Published::read(folder.path()).unwrap(), Published::default());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let published = Published {
            generation: 7,
            envs: [pair("science", "ab")].into(),
            dists: [pair("six-1-cd", "dcd")].into(),
        };
        published.write(folder.path()).unwrap();
        assert_eq!(Published::read(folder.path()).unwrap(), published);
        let path = folder.path().join(Published::FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, damaged).unwrap();
            assert!(Published::read(folder.path()).is_err(), "bit {bit}");
        }
    }
}
