//! Where packages are.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};

/// Where packages are. Addresses may hold credentials, so they are not printed.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Index {
    /// In the place of PyPI.
    #[serde(deserialize_with = "some_address")]
    pub url: Option<String>,
    /// Searched before that.
    #[serde(deserialize_with = "addresses")]
    pub extra: Vec<String>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

fn some_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    String::deserialize(from).and_then(address).map(Some)
}

fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Vec::deserialize(from)?.into_iter().map(address).collect()
}

/// The address is not in the message: it may hold a password.
fn address<E: Error>(text: String) -> Result<String, E> {
    let is_address = text.starts_with("https://") || text.starts_with("http://");
    if is_address && !text.contains(char::is_whitespace) {
        return Ok(text);
    }
    Err(E::custom("an index has an address that begins with https:// or http://"))
}
