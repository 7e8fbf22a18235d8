//! A key, from a file that only root can read.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chacha20poly1305::{KeyInit, XChaCha20Poly1305};

/// Fewest bytes of a key file.
const LEAST: usize = 32;
/// Most bytes of a key file.
const MOST: u64 = 64 << 10;
/// Purposes, so that the two values derived from a key file differ. A change of either makes all sealed
/// content unreadable.
const FOR_ENCRYPTION: &str = "pipsqueak 2026-11-30 key that seals state";
const FOR_NAME: &str = "pipsqueak 2026-11-30 name of a key that seals state";

/// Reason that a key file is not used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("reading the key file {}: {error}; name a file of at least {LEAST} random bytes", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the call.
        error: io::Error,
    },
    /// Other users than root can read or change the file.
    #[error(
        "the key file {} is open to other users than root; run `chown root` and `chmod 600` on it",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The length of the file is wrong.
    #[error(
        "the key file {} has {length} bytes instead of {LEAST} to {MOST}; make one with \
         `head -c 32 /dev/urandom`",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// The length of the file, in bytes.
        length: usize,
    },
}

/// Public name of a key. Sealed content tells with it which key sealed it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyName(pub [u8; 8]);

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key. It is overwritten in memory when it is dropped.
pub struct Key {
    /// Name of the key.
    pub name: KeyName,
    /// Cipher with the key.
    pub cipher: XChaCha20Poly1305,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.name).finish()
    }
}

impl Key {
    /// Reads a key file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |error| KeyError::Read { path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        let is_ours = found.uid() == 0 || found.uid() == nix::unistd::geteuid().as_raw();
        if !is_ours || found.mode() & 0o077 != 0 {
            return Err(KeyError::Open { path: path.to_owned() });
        }
        let mut content = Vec::new();
        file.take(MOST + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() < LEAST || content.len() as u64 > MOST {
            return Err(KeyError::Length { path: path.to_owned(), length: content.len() });
        }
        Ok(Self::derive(&content))
    }

    /// The key of a key file's content, which may have any form.
    pub fn derive(content: &[u8]) -> Self {
        let mut name = [0; 8];
        name.copy_from_slice(&blake3::derive_key(FOR_NAME, content)[..8]);
        let cipher = XChaCha20Poly1305::new(&blake3::derive_key(FOR_ENCRYPTION, content).into());
        Self { name: KeyName(name), cipher }
    }
}
