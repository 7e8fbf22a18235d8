//! A lock: the distributions that were chosen, as `pylock.toml` (PEP 751) says it.

use std::collections::BTreeMap;

use pep440_rs::Version;
use serde::{Deserialize, Serialize};

use crate::id::Digest;
use crate::ingest::AddError;
use crate::ingest::requirement::{Address, Requirement, normalise};
use crate::ingest::resolve::archive_urls::ArchiveUrls;

/// A distribution that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Address, where it does not come from an index.
    pub url: Option<String>,
    /// Digest of each wheel that may be installed, `algorithm:digest`, in order.
    pub hashes: Vec<String>,
    /// Digest of the source that its wheel was built from here, likewise.
    pub source: Option<String>,
}

/// A source distribution in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDistribution {
    /// Version.
    pub version: String,
    /// Address.
    pub url: String,
    /// Digest, in hexadecimal.
    pub sha256: String,
}

/// Folder of wheels that were built here, as jobs see it; each is in a folder named by its source's digest.
pub const BUILT_INSIDE: &str = "/pipsqueak/built";

/// Number of the way in which content of archives is stored: what was stored in another way is another
/// artifact.
const FORMAT: u32 = 2;

/// The algorithm that artifacts are told apart by, where there is a digest by it.
const USUAL: &str = "sha256";

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    #[serde(default)]
    lock_version: String,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize, Serialize)]
struct Package {
    name: String,
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    wheels: Vec<Artifact>,
    archive: Option<Artifact>,
    sdist: Option<Artifact>,
}

#[derive(Deserialize, Serialize)]
struct Artifact {
    url: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

impl Artifact {
    /// An artifact with one digest, `algorithm:digest`.
    fn of(hash: &str) -> Self {
        let (algorithm, digest) = hash.split_once(':').unwrap_or((USUAL, hash));
        Self { url: None, hashes: [(algorithm.to_owned(), digest.to_owned())].into() }
    }

    /// The digests that it is known by, `algorithm:digest`: the usual one, or all others.
    fn known_by(&self) -> Vec<String> {
        let digests = self.hashes.iter();
        let all = digests.map(|(algorithm, digest)| format!("{algorithm}:{digest}"));
        match self.hashes.get(USUAL) {
            Some(digest) => vec![format!("{USUAL}:{digest}")],
            None => all.collect(),
        }
    }

    /// Digest of the source that it was built from here.
    fn source(&self) -> Option<String> {
        let folder = self.url.as_ref()?.strip_prefix("file://")?.strip_prefix(BUILT_INSIDE)?;
        let digest = folder.strip_prefix('/')?.split('/').next()?;
        is_digest(digest).then(|| format!("sha256:{digest}"))
    }
}

impl Locked {
    /// Tells artifacts apart: digest of how what is in them is stored, of name, version and hashes, in
    /// hexadecimal.
    pub fn artifact(&self) -> String {
        let hashes = self.hashes.join("\n");
        let text = format!("{FORMAT}\n{}\n{}\n{hashes}", self.name, self.version);
        Digest::of(text.as_bytes()).to_string()
    }

    /// The requirement that asks for exactly this.
    fn requirement(&self) -> Result<Requirement, AddError> {
        let what = match &self.url {
            Some(url) => format!("{} @ {url}", self.name),
            None => format!("{}=={}", self.name, self.version),
        };
        let hashes = self.hashes.iter().map(|hash| format!(" --hash={hash}"));
        let line = what + &hashes.collect::<String>();
        Requirement::parse(&line).map_err(|error| AddError::Lock(error.to_string()))
    }
}

/// Reads a lock. Every distribution must have a wheel with a hash.
pub fn parse(text: &str) -> Result<Vec<Locked>, AddError> {
    let document: Document =
        toml::from_str(text).map_err(|error| AddError::Lock(error.to_string()))?;
    let locked = document.packages.into_iter().map(|package| {
        let url = package.archive.as_ref().map(|archive| {
            archive.url.clone().ok_or_else(|| {
                AddError::unsatisfiable(format!(
                    "{} is asked for as a file, by what some package requires; only what is in an \
                     index or at an address in the web is taken",
                    package.name
                ))
            })
        });
        let url = url.transpose()?;
        let artifacts = package.wheels.iter().chain(&package.archive);
        let source = package.wheels.iter().find_map(Artifact::source);
        let mut hashes: Vec<_> = artifacts.flat_map(Artifact::known_by).collect();
        hashes.sort_unstable();
        if hashes.is_empty() {
            return Err(AddError::Unsatisfiable {
                explanation: format!(
                    "{} has no wheel with a hash for this interpreter, and building from source \
                     is not allowed",
                    package.name
                ),
            });
        }
        let version = package.version.unwrap_or_else(|| "0".to_owned());
        let locked = Locked { name: normalise(&package.name), version, url, hashes, source };
        // What cannot be asked for again is not taken: whoever has made the index's pages has made it.
        locked.requirement().map(|_| locked)
    });
    let mut locked = locked.collect::<Result<Vec<_>, _>>()?;
    locked.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(locked)
}

/// Writes a lock of exactly these, from which [`parse`] reads the same.
/// `archives` say where some of their wheels are.
pub fn write(locked: &[Locked], archives: &ArchiveUrls) -> Result<String, AddError> {
    let packages = locked.iter().map(|one| {
        let wheels = one.hashes.iter().map(|hash| {
            let url = archives.address(&one.name, hash).map(ToOwned::to_owned);
            Artifact { url, ..Artifact::of(hash) }
        });
        let mut wheels: Vec<_> = wheels.collect();
        let source = one.source.as_deref().and_then(|source| source.strip_prefix("sha256:"));
        if let (Some(source), Some(wheel)) = (source, wheels.first_mut()) {
            wheel.url = Some(format!("file://{BUILT_INSIDE}/{source}/"));
        }
        let archive = one.url.clone().filter(|_| !wheels.is_empty());
        let archive = archive.map(|url| Artifact { url: Some(url), ..wheels.remove(0) });
        Package {
            name: one.name.clone(),
            version: Some(one.version.clone()),
            wheels,
            archive,
            sdist: None,
        }
    });
    let document = Document {
        lock_version: "1.0".to_owned(),
        created_by: "pipsqueak".to_owned(),
        packages: packages.collect(),
    };
    toml::to_string(&document).map_err(|error| AddError::Lock(error.to_string()))
}

/// Addresses of wheels that a lock has.
pub fn archives(text: &str) -> Result<ArchiveUrls, AddError> {
    let document: Document =
        toml::from_str(text).map_err(|error| AddError::Lock(error.to_string()))?;
    let mut archives = ArchiveUrls::default();
    for package in document.packages {
        for wheel in &package.wheels {
            if let (Some(url), [hash, ..]) = (&wheel.url, wheel.known_by().as_slice()) {
                archives.add(normalise(&package.name), url, hash.clone());
            }
        }
    }
    Ok(archives)
}

/// Reads a lock in which `package` is there as source.
pub fn source(text: &str, package: &str) -> Result<SourceDistribution, AddError> {
    let document: Document =
        toml::from_str(text).map_err(|error| AddError::Lock(error.to_string()))?;
    let found = document.packages.into_iter().find(|found| normalise(&found.name) == package);
    let read = found.and_then(|found| {
        let sdist = found.sdist?;
        Some(SourceDistribution {
            version: found.version?,
            url: sdist.url.filter(|url| Address::parse(url).is_ok())?,
            sha256: sdist.hashes.get(USUAL).filter(|digest| is_digest(digest))?.clone(),
        })
    });
    read.ok_or_else(|| {
        AddError::unsatisfiable(format!("{package} has no source distribution with a SHA-256"))
    })
}

/// True if a text is one, and so names a folder of its own and no other.
fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A lock of distributions by name and version alone, for uv to prefer them. Versions before a
/// release are left out: that somebody has asked for one is no reason to give it to others.
pub fn preferences(versions: &[(String, String)]) -> String {
    let is_released = |version: &str| version.parse().is_ok_and(|v: Version| !v.any_prerelease());
    let released = versions.iter().filter(|(_, version)| is_released(version));
    let packages = released
        .map(|(name, version)| format!("    {{ name = {name:?}, version = {version:?} }},\n"));
    let packages: String = packages.collect();
    format!("lock-version = \"1.0\"\ncreated-by = \"pipsqueak\"\npackages = [\n{packages}]\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_with_all_that_tells_its_wheels_apart() {
        let text = r#"
            lock-version = "1.0"
            [[packages]]
            name = "Typing_Extensions"
            version = "4.1"
            wheels = [{ url = "https://x/t.whl", hashes = { sha256 = "bb" } }, { hashes = { sha256 = "aa" } }]
            [[packages]]
            name = "direct"
            archive = { url = "https://x/d.whl", hashes = { sha256 = "cc" } }
        "#;
        let locked = parse(text).unwrap();
        assert_eq!(
            locked[1].requirement().unwrap().to_string(),
            "typing-extensions==4.1 --hash=sha256:aa --hash=sha256:bb"
        );
        let direct = locked[0].requirement().unwrap().to_string();
        assert_eq!(direct, "direct @ https://x/d.whl --hash=sha256:cc");
        assert_ne!(locked[0].artifact(), locked[1].artifact());
        assert!(parse("[[packages]]\nname = 'x'\nversion = '1'\n").is_err());
    }

    #[test]
    fn a_lock_that_is_written_is_read_as_it_was() {
        let locked = |name: &str, hashes: &[&str]| Locked {
            name: name.to_owned(),
            version: "1".to_owned(),
            url: None,
            hashes: hashes.iter().map(|hash| (*hash).to_owned()).collect(),
            source: None,
        };
        let all = [
            locked("a", &["sha256:aa"]),
            Locked {
                url: Some("https://x/%22b.whl".to_owned()),
                ..locked("b", &["sha256:bb", "sha256:cc"])
            },
            Locked {
                source: Some(format!("sha256:{}", "dd".repeat(32))),
                ..locked("c", &["sha256:ee"])
            },
            locked("d", &["md5:01", "sha512:02", "sha512:03"]),
        ];
        let mut places = ArchiveUrls::default();
        places.add("a".to_owned(), "https://x/a.whl", "sha256:aa".to_owned());
        let text = write(&all, &places).unwrap();
        assert_eq!(parse(&text).unwrap(), all);
        assert_eq!(archives(&text).unwrap(), places);
        assert_eq!(parse(&write(&[], &places).unwrap()).unwrap(), []);
    }

    #[test]
    fn a_source_has_an_address_and_a_digest() {
        let digest = "ab".repeat(32);
        let lock = |digest: &str| {
            format!(
                "packages = [{{ name = 'Old', version = '1', sdist = {{ url = 'https://x/o.tgz', \
                 hashes = {{ sha256 = '{digest}' }} }} }}]"
            )
        };
        assert_eq!(source(&lock(&digest), "old").unwrap().sha256, digest);
        assert!(source(&lock("../../x"), "old").unwrap_err().is_bad_input());
        assert!(source(&lock(&digest), "other").unwrap_err().is_bad_input());
        let wheel = format!(
            "packages = [{{ name = 'x', version = '1', wheels = [{{ hashes = {{ sha256 = 'aa' }}, \
             url = 'file:///pipsqueak/built/{digest}/x.whl' }}] }}]"
        );
        assert_eq!(parse(&wheel).unwrap()[0].source, Some(format!("sha256:{digest}")));
    }

    #[test]
    fn what_was_released_is_preferred() {
        let version = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let versions = [version("six", "1.15.0"), version("six", "1.16.0"), version("x", "2.0rc1")];
        let text = preferences(&versions);
        assert_eq!(text.matches("name = \"six\"").count(), 2, "{text}");
        assert!(!text.contains("rc1"), "{text}");
    }
}
