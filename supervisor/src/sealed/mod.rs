//! Encryption of the state that holds secrets, if the administrator gives a key.
//!
//! ```text
//! 00 "PQS"   mark: no text begins with a zero byte
//! 01         version of this form
//! 8 bytes    name of the key
//! 24 bytes   nonce, random
//! rest       ciphertext of XChaCha20-Poly1305, and its tag of 16 bytes
//! ```
//!
//! The first 13 bytes, and the place of the content, are authenticated: sealed content that was changed or
//! moved to another place is refused. A nonce of 24 bytes can be random, so nothing has to be counted.

mod key;

use std::path::PathBuf;

use chacha20poly1305::XNonce;
use chacha20poly1305::aead::{Aead, Generate, Payload};

pub use key::KeyError;
use key::{Key, KeyName};

const MARK: [u8; 4] = *b"\0PQS";
const VERSION: u8 = 1;
const NAME_END: usize = 13;
const NONCE_END: usize = NAME_END + 24;

/// The keys that the administrator gives.
#[derive(Debug, Default)]
pub struct Keys {
    /// The key that seals. Without one, content is stored as it is.
    current: Option<Key>,
    /// Further keys that open. Content sealed with them is sealed anew, until none is left.
    old: Vec<Key>,
}

/// Reason that content could not be sealed or opened. The messages do not have the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// Content is sealed with a key that was not given.
    #[error(
        "{what} is encrypted with the key {key}, and {given}; give the file of that key as `key_file` or \
         in `old_key_files` of [secrets]"
    )]
    Unknown {
        /// The content.
        what: String,
        /// The name of the key that sealed the content.
        key: String,
        /// The names of the keys that were given, as part of a sentence.
        given: String,
    },
    /// Content was changed, or was moved from another place.
    #[error("{what} is damaged: it is not what was encrypted here; restore it from a backup")]
    Damaged {
        /// The content.
        what: String,
    },
    /// Content has a form of a later version of this program.
    #[error(
        "{what} is encrypted in form {found}, and this program knows {VERSION}; use the newer program"
    )]
    Newer {
        /// The content.
        what: String,
        /// The version of its form.
        found: u8,
    },
    /// The kernel gave no random bytes, or the content is too long.
    #[error("{what} could not be encrypted")]
    Seal {
        /// The content.
        what: String,
    },
}

/// Content that was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// The content.
    pub content: Vec<u8>,
    /// True if the content must be sealed again, because it would be stored in another form today.
    pub is_outdated: bool,
}

impl Keys {
    /// Reads the key files.
    pub fn read(current: Option<&PathBuf>, old: &[PathBuf]) -> Result<Self, KeyError> {
        let current = current.map(|path| Key::read(path)).transpose()?;
        let old = old.iter().map(|path| Key::read(path)).collect::<Result<_, _>>()?;
        Ok(Self { current, old })
    }

    /// Keys of these contents of key files.
    #[cfg(test)]
    pub fn of(current: Option<&[u8]>, old: &[&[u8]]) -> Self {
        Self {
            current: current.map(Key::derive),
            old: old.iter().map(|content| Key::derive(content)).collect(),
        }
    }

    /// True if content is stored encrypted.
    pub fn is_sealing(&self) -> bool {
        self.current.is_some()
    }

    /// First bytes of all content that is sealed with the current key; `None` if there is none.
    pub fn head(&self) -> Option<Vec<u8>> {
        let key = self.current.as_ref()?;
        Some([&MARK[..], &[VERSION], &key.name.0].concat())
    }

    /// The form in which content is stored. `place` names the content and the place that it is bound to.
    pub fn seal(&self, place: &str, content: &[u8]) -> Result<Vec<u8>, SealedError> {
        let Some((key, head)) = self.current.as_ref().zip(self.head()) else {
            return Ok(content.to_owned());
        };
        let failed = || SealedError::Seal { what: place.to_owned() };
        let nonce = XNonce::try_generate().map_err(|_| failed())?;
        let bound = [&head, place.as_bytes()].concat();
        let payload = Payload { msg: content, aad: &bound };
        let secret = key.cipher.encrypt(&nonce, payload).map_err(|_| failed())?;
        Ok([head, nonce.to_vec(), secret].concat())
    }

    /// The content that is stored at `place`, sealed or not.
    pub fn open(&self, place: &str, stored: &[u8]) -> Result<Opened, SealedError> {
        if !stored.starts_with(&MARK) {
            return Ok(Opened { content: stored.to_owned(), is_outdated: self.is_sealing() });
        }
        let what = || place.to_owned();
        let damaged = || SealedError::Damaged { what: what() };
        match stored.get(MARK.len()) {
            Some(&VERSION) => {}
            Some(&found) => return Err(SealedError::Newer { what: what(), found }),
            None => return Err(damaged()),
        }
        let name = stored.get(MARK.len() + 1..NAME_END).and_then(|name| name.try_into().ok());
        let name = KeyName(name.ok_or_else(damaged)?);
        let key = self.all().find(|key| key.name == name).ok_or_else(|| SealedError::Unknown {
            what: what(),
            key: name.to_string(),
            given: self.describe(),
        })?;
        let nonce = stored.get(NAME_END..NONCE_END).ok_or_else(damaged)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| damaged())?;
        let bound = [&stored[..NAME_END], place.as_bytes()].concat();
        let payload = Payload { msg: &stored[NONCE_END..], aad: &bound };
        let content = key.cipher.decrypt(&nonce, payload).map_err(|_| damaged())?;
        let is_outdated = self.current.as_ref().is_none_or(|current| current.name != name);
        Ok(Opened { content, is_outdated })
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        self.current.iter().chain(&self.old)
    }

    fn describe(&self) -> String {
        let names: Vec<_> = self.all().map(|key| key.name.to_string()).collect();
        if names.is_empty() {
            "no key was given".to_owned()
        } else {
            format!("the keys given are {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;
