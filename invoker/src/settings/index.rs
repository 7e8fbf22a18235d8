//! The indexes of packages.

use std::ffi::OsString;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};

use super::kind::list;
use super::variables::Variables;

/// The indexes of packages. Addresses may hold credentials, so they are not printed.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Index {
    /// The index in the place of PyPI.
    #[serde(deserialize_with = "some_address")]
    pub url: Option<String>,
    /// Indexes that are searched before that.
    #[serde(deserialize_with = "addresses")]
    pub extra: Vec<String>,
    /// Further hosts that downloads may reach, wherever they are: `HOST` or `HOST:PORT`.
    #[serde(deserialize_with = "hosts")]
    pub hosts: Vec<String>,
}

impl Index {
    /// These indexes, as they are.
    pub(super) fn settle(self, _: &Variables) -> Self {
        self
    }

    /// The address in the place of PyPI's, without credentials.
    pub(super) fn write_url(&self) -> Option<OsString> {
        self.url.as_deref().map(|url| without_credentials(url).into())
    }

    /// The further indexes, without credentials.
    pub(super) fn write_extra(&self) -> OsString {
        list(self.extra.iter().map(|url| without_credentials(url)))
    }

    /// The further hosts.
    pub(super) fn write_hosts(&self) -> OsString {
        list(self.hosts.iter().cloned())
    }
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

fn hosts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let hosts: Vec<String> = Vec::deserialize(from)?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    match hosts.iter().find(|host| host.is_empty() || !host.bytes().all(is_part)) {
        None => Ok(hosts),
        Some(host) => Err(D::Error::custom(format!("{host:?} is neither HOST nor HOST:PORT"))),
    }
}

/// Refuses a bad address. The message does not repeat it, because it may hold a password.
fn address<E: Error>(text: String) -> Result<String, E> {
    let is_address = text.starts_with("https://") || text.starts_with("http://");
    if is_address && !text.contains(char::is_whitespace) {
        return Ok(text);
    }
    Err(E::custom("an index has an address that begins with https:// or http://"))
}

fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // The query may hold a token.
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://****@{host}{path}"),
        None => format!("{scheme}://{host}{path}"),
    }
}
