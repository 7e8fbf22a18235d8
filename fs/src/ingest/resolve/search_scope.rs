//! Places in which packages are searched: as the supervisor was told, with the credentials that are part
//! of it, and as options of requirements say.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::{self, Write};

use serde::Serialize;

use crate::ingest::confine::Reach;
use crate::ingest::credentials;
use crate::ingest::requirement::{Address, Choice, split_authority};

/// Indexes of packages, as the supervisor was told. Addresses may hold credentials: they are given to uv
/// alone, and hidden in what it says.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IndexOptions {
    /// Index that takes the place of PyPI.
    pub url: Option<String>,
    /// Searched before that.
    pub extra: Vec<String>,
    /// Further hosts, `HOST` or `HOST:PORT`, that indexes have their files on.
    pub hosts: Vec<String>,
}

impl fmt::Debug for IndexOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |url: &String| credentials::hide(url);
        f.debug_struct("IndexOptions")
            .field("url", &self.url.as_ref().map(hidden))
            .field("extra", &self.extra.iter().map(hidden).collect::<Vec<_>>())
            .field("hosts", &self.hosts)
            .finish()
    }
}

/// Address of PyPI.
const PYPI: &str = "https://pypi.org/simple";
/// The hosts that PyPI has its pages and its files on.
const PYPI_HOSTS: [&str; 2] = ["pypi.org", "files.pythonhosted.org"];
/// The port of a host of which no other is said.
const USUAL_PORT: u16 = 443;
/// The variables by which uv is told what takes PyPI's place.
const DEFAULT: [&str; 2] = ["UV_DEFAULT_INDEX", "UV_INDEX_URL"];
/// The variables by which it is told what else to look in, before that.
const EXTRA: [&str; 2] = ["UV_INDEX", "UV_EXTRA_INDEX_URL"];

/// All places that a job takes packages from, as uv reads them from a configuration file. It has the
/// credentials, so it is in no variable, no argument and no folder.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SearchScope {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_index: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    index_strategy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exclude_newer: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    find_links: Vec<String>,
    #[serde(rename = "index", skip_serializing_if = "Vec::is_empty")]
    indexes: Vec<IndexUrl>,
    #[serde(skip)]
    hosts: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
struct IndexUrl {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    url: String,
    /// True if the index takes the place of PyPI.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
}

impl SearchScope {
    /// The places that a configuration names, and else variables do, as uv reads them.
    pub fn of(index: &IndexOptions, variables: &[(OsString, OsString)]) -> Self {
        let value = |wanted: &str| {
            let found = variables.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.to_string_lossy().into_owned())
        };
        let said = |names: &[&str]| {
            let urls: Vec<String> = names
                .iter()
                .filter_map(|name| value(name))
                .flat_map(|value| {
                    value.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>()
                })
                .collect();
            urls.into_iter().map(|url| IndexUrl::of(url, &value)).collect::<Vec<_>>()
        };
        let configured = |urls: &[String]| {
            urls.iter().map(|url| IndexUrl::of(url.clone(), &|_| None)).collect::<Vec<_>>()
        };
        let mut default = match &index.url {
            Some(url) => configured(std::slice::from_ref(url)),
            None => said(&DEFAULT),
        };
        default.truncate(1);
        for index in &mut default {
            index.default = true;
        }
        let extra = if index.extra.is_empty() { said(&EXTRA) } else { configured(&index.extra) };
        let links = value("UV_FIND_LINKS").unwrap_or_default();
        let links = links.split([',', ' ']).filter(|link| !link.is_empty());
        Self {
            no_index: matches!(value("UV_NO_INDEX").as_deref(), Some("1" | "true")),
            index_strategy: None,
            exclude_newer: value("UV_EXCLUDE_NEWER").filter(|date| !date.is_empty()),
            find_links: links.map(ToOwned::to_owned).collect(),
            indexes: extra.into_iter().chain(default).collect(),
            hosts: index.hosts.clone(),
        }
    }

    /// Adds the indexes that options of requirements name, after those that are here already.
    pub fn add(&mut self, choices: &[Choice]) {
        let of = |address: &Address, default| IndexUrl {
            name: None,
            url: address.as_str().to_owned(),
            default,
        };
        let has_default = self.indexes.iter().any(|index| index.default);
        for choice in choices {
            match choice {
                Choice::Index(address) if !has_default => {
                    self.indexes.retain(|index| !index.default);
                    self.indexes.push(of(address, true));
                }
                Choice::ExtraIndex(address) => self.indexes.push(of(address, false)),
                Choice::FindLinks(address) => self.find_links.push(address.as_str().to_owned()),
                Choice::NoIndex => self.no_index = true,
                _ => {}
            }
        }
    }

    /// A folder of wheels that the job sees.
    pub fn add_folder(&mut self, folder: String) {
        self.find_links.push(folder);
    }

    /// An index ahead of all others, whose pages need not tell when an archive was uploaded.
    pub fn look_first_in(&mut self, url: String) {
        self.indexes.insert(0, IndexUrl { name: None, url, default: false });
        self.exclude_newer = None;
    }

    /// Looks in all indexes for what fits, not only in the first that has a package.
    pub fn look_further(&mut self) {
        self.index_strategy = Some("unsafe-best-match");
    }

    /// Each index by itself, PyPI included where nothing takes its place.
    pub fn each(&self) -> Vec<Self> {
        let (default, extra): (Vec<_>, Vec<_>) =
            self.indexes.iter().cloned().partition(|index| index.default);
        let pypi = || IndexUrl { name: None, url: PYPI.to_owned(), default: true };
        let default = default.into_iter().next().unwrap_or_else(pypi);
        let alone = |index: IndexUrl| Self {
            indexes: vec![IndexUrl { default: true, ..index }],
            ..self.clone()
        };
        extra.into_iter().chain([default]).map(alone).collect()
    }

    /// True if an index is looked in ahead of PyPI, or of what takes its place.
    pub fn has_extra(&self) -> bool {
        self.indexes.iter().any(|index| !index.default && !is_pypi(&index.url))
    }

    /// True if something takes PyPI's place.
    pub fn has_mirror(&self) -> bool {
        self.indexes.iter().any(|index| index.default && !is_pypi(&index.url))
    }

    /// A configuration file of uv.
    pub fn configuration(&self) -> String {
        // Never empty, so that there is a file.
        format!("# Where packages are.\n{}", toml::to_string(self).unwrap_or_default())
    }

    /// The addresses of all indexes.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.indexes.iter().map(|index| index.url.as_str())
    }

    /// The hosts that these places name.
    pub fn reach(&self) -> Reach {
        let links = self.find_links.iter().map(String::as_str);
        let urls = self.urls().chain(links);
        // Whoever may configure the supervisor may name any host, with credentials as well.
        let named = urls.filter_map(|url| Address::parse(&credentials::remove(url)).ok());
        let hosts = self.hosts.iter().filter_map(|host| split_authority(host, USUAL_PORT).ok());
        let mut named: BTreeSet<_> =
            named.map(|address| address.authority()).chain(hosts).collect();
        if !self.has_mirror() {
            named.extend(PYPI_HOSTS.map(|host| (host.to_owned(), USUAL_PORT)));
        }
        Reach { named }
    }

    /// Secrets in the addresses.
    pub fn secrets(&self) -> Vec<String> {
        let links = self.find_links.iter().map(String::as_str);
        self.urls().chain(links).flat_map(credentials::secrets).collect()
    }
}

impl IndexUrl {
    /// A place as a variable names it, `URL` or `NAME=URL`, with the credentials that other variables
    /// have of one with a name.
    fn of(text: String, value: &dyn Fn(&str) -> Option<String>) -> Self {
        let (name, url) = match text.split_once('=') {
            Some((name, url)) if !name.contains("://") => (Some(name.to_owned()), url.to_owned()),
            _ => (None, text),
        };
        let of_name = |what: &str| {
            let name = name.as_deref()?.to_ascii_uppercase();
            let name: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            value(&format!("UV_INDEX_{name}_{what}")).filter(|value| !value.is_empty())
        };
        let url = match (of_name("USERNAME"), of_name("PASSWORD"), url.split_once("://")) {
            (None, None, _) | (_, _, None) => url,
            (user, password, Some((scheme, rest))) => {
                let user = encoded(&user.unwrap_or_default());
                let password = password.map(|password| format!(":{}", encoded(&password)));
                format!("{scheme}://{user}{}@{rest}", password.unwrap_or_default())
            }
        };
        Self { name, url, default: false }
    }
}

/// A text as it stands in an address for a user or a password.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn is_pypi(url: &str) -> bool {
    matches!(url.trim().trim_end_matches('/'), "" | PYPI)
}

impl fmt::Debug for SearchScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchScope").field("reach", &self.reach()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(variables: &[(&str, &str)]) -> SearchScope {
        let variables: Vec<(OsString, OsString)> =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        SearchScope::of(&IndexOptions::default(), &variables)
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn all_indexes_are_known_whoever_names_them() {
        let mut all = scope(&[
            ("UV_INDEX", "own=https://c?x=y https://d?x=y"),
            ("UV_INDEX_OWN_USERNAME", "me"),
            ("UV_INDEX_OWN_PASSWORD", "p@ss"),
        ]);
        all.add(&[
            Choice::Pre,
            Choice::ExtraIndex(address("https://a/simple")),
            Choice::Index(address("https://b/simple")),
        ]);
        let urls =
            ["https://me:p%40ss@c?x=y", "https://d?x=y", "https://a/simple", "https://b/simple"];
        assert_eq!(all.urls().collect::<Vec<_>>(), urls);
        assert_eq!(all.secrets(), ["p%40ss"]);
        let each: Vec<String> = all.each().iter().map(|one| one.urls().collect()).collect();
        assert_eq!(each, urls);
        assert_eq!(scope(&[]).each()[0].urls().collect::<String>(), PYPI);
        // Whoever configures the machine says what takes PyPI's place.
        let mut mirror = scope(&[("UV_INDEX_URL", "https://mirror/simple")]);
        mirror.add(&[Choice::Index(address("https://b/simple"))]);
        assert_eq!(mirror.urls().collect::<String>(), "https://mirror/simple");
    }

    #[test]
    fn it_is_told_to_uv_and_not_printed() {
        let index = IndexOptions {
            url: Some("https://me:hunter2@host/simple".to_owned()),
            extra: vec!["https://a/simple".to_owned(), "https://token@b:8443/simple".to_owned()],
            hosts: vec!["files.example".to_owned(), "10.0.0.1:81".to_owned()],
        };
        let mut all = SearchScope::of(&index, &[("UV_INDEX".into(), "https://other".into())]);
        all.look_first_in("file:///index".to_owned());
        let text = all.configuration();
        let urls = ["file:///index", "https://a/simple", "https://token@b:8443/simple"];
        let at = urls.map(|url| text.find(&format!("url = \"{url}\"")).unwrap());
        assert!(at.is_sorted(), "{text}");
        assert!(
            text.contains("url = \"https://me:hunter2@host/simple\"\ndefault = true"),
            "{text}"
        );
        assert!(!text.contains("other"), "{text}");
        let authority = |host: &str, port| (host.to_owned(), port);
        let reach = [
            authority("10.0.0.1", 81),
            authority("a", 443),
            authority("b", 8443),
            authority("files.example", 443),
            authority("host", 443),
        ];
        assert_eq!(all.reach().named, BTreeSet::from(reach));
        let usual = SearchScope::default().reach().named.into_iter().map(|(host, _)| host);
        assert_eq!(usual.collect::<Vec<_>>(), ["files.pythonhosted.org", "pypi.org"]);
        for printed in [format!("{index:?}"), format!("{all:?}")] {
            assert!(!printed.contains("hunter2") && !printed.contains("token"), "{printed}");
        }
        assert_eq!(SearchScope::default().configuration(), "# Where packages are.\n");
    }
}
