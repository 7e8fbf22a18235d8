//! Names that the mount shows: a small file that the supervisor replaces and the mount rereads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::replace;
use crate::id::Digest;

/// The names in the mount's folders, and the view behind each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Number that every change raises: the folders' modification time in seconds after the mount's epoch,
    /// so that interpreters which have listed them notice.
    pub generation: u64,
    /// Name of each environment, digest of its view.
    pub envs: BTreeMap<String, String>,
    /// `NAME-VERSION-DIGEST` of each distribution, digest of its view.
    pub dists: BTreeMap<String, String>,
    /// Names that have come, gone or changed last, the latest at the end. Whoever was to tell the
    /// kernel of them may have been killed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
}

/// Changed names that are remembered: several times what one addition brings.
const MOST_CHANGED: usize = 1024;

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Checksummed {
    published: Published,
    /// Digest of what is published, as JSON: a name with a flipped bit is still a name.
    checksum: String,
}

impl Published {
    /// The file's name.
    pub const FILE: &str = "published.json";

    /// Reads what was published last; nothing if nothing was yet.
    pub fn read(views: &Path) -> io::Result<Self> {
        let text = match std::fs::read(views.join(Self::FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let Checksummed { published, checksum } = serde_json::from_slice(&text)?;
        if published.checksum()? == checksum {
            Ok(published)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is wrong"))
        }
    }

    /// True if it shows what another does, whatever either remembers.
    pub fn shows_the_same(&self, other: &Self) -> bool {
        (self.generation, &self.envs, &self.dists) == (other.generation, &other.envs, &other.dists)
    }

    /// Remembers which names mean something else than they did in `earlier`, besides those that it
    /// remembers.
    pub fn note_changes(&mut self, earlier: Self) {
        let different = |before: &BTreeMap<String, String>, now: &BTreeMap<String, String>| {
            let names: BTreeSet<String> = before.keys().chain(now.keys()).cloned().collect();
            let other = |name: &String| before.get(name) != now.get(name);
            names.into_iter().filter(other).collect::<BTreeSet<_>>()
        };
        let mut fresh = different(&earlier.envs, &self.envs);
        fresh.extend(different(&earlier.dists, &self.dists));
        let mut changed = earlier.changed;
        changed.retain(|name| !fresh.contains(name));
        changed.extend(fresh);
        changed.drain(..changed.len().saturating_sub(MOST_CHANGED));
        self.changed = changed;
    }

    /// Publishes it.
    pub fn write(&self, views: &Path) -> io::Result<()> {
        let sealed = Checksummed { published: self.clone(), checksum: self.checksum()? };
        replace(&views.join(Self::FILE), &serde_json::to_vec(&sealed)?)
    }

    fn checksum(&self) -> io::Result<String> {
        Ok(Digest::of(&serde_json::to_vec(self)?).to_string())
    }
}

/// Names of the mount of the folder `state` that have come, gone or changed last: the kernel may not
/// have been told of them, where the one who was to was killed.
pub fn recently_changed(state: &Path) -> io::Result<Vec<String>> {
    Ok(Published::read(&state.join("views"))?.changed)
}

/// Name of a distribution in the mount's folder of them.
pub fn distribution_name(name: &str, version: &str, digest: &str) -> String {
    format!("{name}-{version}-{}", &digest[..16.min(digest.len())])
}

/// Name of a view in the folder of views, by its digest and the number of its first node: no name there
/// ever means something else.
pub fn view_name(digest: &str, first_number: u64) -> String {
    format!("{digest}.{first_number}")
}

/// Path of a view's index.
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
            changed: vec!["gone".to_owned()],
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

    #[test]
    fn names_that_come_go_or_change_are_remembered_for_a_while() {
        let with = |names: &[(&str, &str)]| {
            let pairs = names.iter().map(|(name, view)| ((*name).to_owned(), (*view).to_owned()));
            Published { envs: pairs.collect(), ..Published::default() }
        };
        let first = with(&[("goes", "1"), ("changes", "2"), ("stays", "3")]);
        let mut second = with(&[("changes", "4"), ("stays", "3"), ("comes", "5")]);
        second.note_changes(first);
        assert_eq!(second.changed, ["changes", "comes", "goes"]);
        let mut third = with(&[("stays", "3"), ("comes", "5")]);
        third.note_changes(second);
        assert_eq!(third.changed, ["comes", "goes", "changes"]);
        let many: Vec<_> = (0..MOST_CHANGED).map(|number| format!("n{number:04}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "6")).collect();
        let mut fourth = with(&many);
        fourth.note_changes(third);
        assert_eq!(fourth.changed.len(), MOST_CHANGED);
        assert!(!fourth.changed.contains(&"goes".to_owned()));
        assert!(fourth.changed.contains(&"stays".to_owned()));
    }
}
