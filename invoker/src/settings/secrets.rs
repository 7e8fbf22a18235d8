//! The keys that encrypt stored secrets.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::de::{Deserialize, Deserializer, Error};

use super::kind::list;
use super::variables::Variables;

/// The folder with the credentials that systemd gives a service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The credential that is the key, unless the configuration file names one.
const KEY: &str = "pipsqueak.key";
/// The credential that is the previous key.
const OLD_KEY: &str = "pipsqueak.old-key";

/// The files of the keys that encrypt stored secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// The key that encrypts. Without it nothing is encrypted.
    #[serde(deserialize_with = "file")]
    pub key_file: Option<PathBuf>,
    /// Keys that decrypt what was encrypted with them, so that it can be encrypted with another key.
    #[serde(deserialize_with = "files")]
    pub old_key_files: Vec<PathBuf>,
}

impl Secrets {
    /// The file of the key that encrypts.
    pub(super) fn write_key_file(&self) -> Option<OsString> {
        self.key_file.as_deref().map(Into::into)
    }

    /// The files of the keys that only decrypt.
    pub(super) fn write_old_key_files(&self) -> OsString {
        list(self.old_key_files.iter().map(|path| path.to_string_lossy().into_owned()))
    }

    /// These files, or for files that are not named the credentials that systemd gives.
    pub(super) fn settle(self, variables: &Variables) -> Self {
        let credential = |name: &str| {
            let path = variables.path(CREDENTIALS)?.join(name);
            path.exists().then_some(path)
        };
        let old = self.old_key_files;
        Self {
            key_file: self.key_file.or_else(|| credential(KEY)),
            old_key_files: if old.is_empty() {
                credential(OLD_KEY).into_iter().collect()
            } else {
                old
            },
        }
    }
}

fn file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    PathBuf::deserialize(from).and_then(absolute).map(Some)
}

fn files<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    Vec::deserialize(from)?.into_iter().map(absolute).collect()
}

/// Refuses a relative path. The message does not repeat it, because a user may have written the key in
/// its place.
fn absolute<E: Error>(path: PathBuf) -> Result<PathBuf, E> {
    if path.is_absolute() { Ok(path) } else { Err(E::custom("a key file is an absolute path")) }
}
