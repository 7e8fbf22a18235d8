//! A `pylock.toml` (PEP 751) that somebody brings, turned into requirements that leave no choice.
//! uv takes those for installing in two steps; a lock only whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::ingest::AddError;
use crate::ingest::requirement::normalise;
use crate::ingest::resolve::archive_urls::ArchiveUrls;
use crate::ingest::resolve::lock_marker;

/// Content of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pylock {
    /// Lines of a requirements file: each distribution by version or address, with its hashes.
    pub requirements: Vec<String>,
    /// Addresses of their wheels.
    pub archives: ArchiveUrls,
    /// Versions of Python that it is for.
    pub requires_python: Option<String>,
    /// True if it is for certain environments alone.
    pub is_limited: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    lock_version: String,
    requires_python: Option<String>,
    #[serde(default)]
    environments: Vec<String>,
    #[serde(default)]
    default_groups: Vec<String>,
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    version: Option<String>,
    marker: Option<String>,
    #[serde(default)]
    wheels: Vec<Artifact>,
    archive: Option<Artifact>,
    sdist: Option<Artifact>,
    vcs: Option<toml::Table>,
    directory: Option<toml::Table>,
}

#[derive(Deserialize)]
struct Artifact {
    url: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

impl Artifact {
    fn hashes(&self) -> impl Iterator<Item = String> {
        self.hashes.iter().map(|(algorithm, digest)| format!(" --hash={algorithm}:{digest}"))
    }

    /// The version that a wheel's name has.
    fn version(&self) -> Option<String> {
        let file = self.url.as_ref()?.split(['?', '#']).next()?.rsplit('/').next()?;
        Some(file.split('-').nth(1)?.replace("%2B", "+").replace("%2b", "+"))
    }

    /// The digest that an index would give, `algorithm:digest`.
    fn best_hash(&self) -> Option<String> {
        let of = |algorithm: &str| {
            let digest = self.hashes.get(algorithm)?;
            Some(format!("{algorithm}:{digest}"))
        };
        ["sha256", "sha512", "sha384"].into_iter().find_map(of)
    }
}

/// Reads a lock. Refuses what is not a wheel at an address or in an index.
pub fn read(text: &str) -> Result<Pylock, AddError> {
    let document: Document = toml::from_str(text).map_err(|error| refused(error.message()))?;
    if document.lock_version.split('.').next() != Some("1") {
        return Err(refused(format!(
            "its version is {}, and 1.0 is what this program reads",
            document.lock_version
        )));
    }
    let environments: Vec<String> =
        document.environments.iter().map(|marker| format!("({marker})")).collect();
    let environments = environments.join(" or ");
    let mut requirements = Vec::new();
    let mut archives = ArchiveUrls::default();
    for package in &document.packages {
        requirements.push(requirement(package, &environments, &document.default_groups)?);
        for wheel in &package.wheels {
            if let (Some(url), Some(hash)) = (&wheel.url, wheel.best_hash()) {
                archives.add(normalise(&package.name), url, hash);
            }
        }
    }
    if requirements.iter().any(|line| line.contains('\n')) {
        return Err(refused("a line ends within a name, a version or a marker"));
    }
    Ok(Pylock {
        requirements,
        archives,
        requires_python: document.requires_python,
        is_limited: !environments.is_empty() && !document.packages.is_empty(),
    })
}

fn requirement(
    package: &Package,
    environments: &str,
    groups: &[String],
) -> Result<String, AddError> {
    let name = &package.name;
    let refused = |reason: &str| refused(format!("{name} {reason}"));
    if package.vcs.is_some() || package.directory.is_some() {
        return Err(refused(
            "comes from version control or a folder, and only wheels are installed",
        ));
    }
    let marker = package.marker.as_deref().unwrap_or_default();
    let marker = lock_marker::answer(marker, groups)
        .ok_or_else(|| refused("has a marker that cannot be read"))?;
    let has_address = |artifact: &&Artifact| artifact.url.is_some();
    let wheels = || package.wheels.iter().filter(has_address);
    let version = package.version.clone().or_else(|| wheels().find_map(Artifact::version));
    let (what, hashes): (String, BTreeSet<String>) = match (&package.archive, version) {
        (Some(archive), _) => {
            let url =
                archive.url.as_ref().ok_or_else(|| refused("is a file of another machine"))?;
            (format!("{name} @ {url}"), archive.hashes().collect())
        }
        (None, Some(version)) => {
            (format!("{name}=={version}"), wheels().flat_map(Artifact::hashes).collect())
        }
        (None, None) => return Err(refused("has no version")),
    };
    if hashes.is_empty() {
        return Err(match package.sdist {
            Some(_) => refused("is there as source alone, and only wheels are installed"),
            None => refused("has no wheel with an address and a hash"),
        });
    }
    let markers = match (&*marker, environments) {
        ("", "") => String::new(),
        (marker, "") => format!(" ; {marker}"),
        ("", environments) => format!(" ; {environments}"),
        (marker, environments) => format!(" ; ({marker}) and ({environments})"),
    };
    Ok(what + &markers + &hashes.into_iter().collect::<String>())
}

fn refused(reason: impl std::fmt::Display) -> AddError {
    AddError::unsatisfiable(format!("the lock is refused: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(packages: &str) -> Result<Pylock, AddError> {
        read(&format!("lock-version = '1.0'\ncreated-by = 'a test'\n{packages}"))
    }

    #[test]
    fn a_lock_leaves_no_choice() {
        let lock = lock(
            r#"
            requires-python = ">=3.11"
            [[packages]]
            name = "six"
            version = "1.17.0"
            index = "https://pypi.org/simple/"
            marker = "python_version < '4'"
            sdist = { url = "https://x/six.tar.gz", hashes = { sha256 = "00" } }
            wheels = [
                { url = "https://x/six-a.whl", hashes = { sha256 = "bb", md5 = "cc" } },
                { url = "https://x/six-b.whl", hashes = { sha256 = "aa" } },
                { path = "six-c.whl", hashes = { sha256 = "dd" } },
            ]
            [[packages]]
            name = "own"
            version = "2"
            index = "https://own/simple"
            wheels = [{ url = "https://own/own.whl", hashes = { sha256 = "ee" } }]
            [[packages]]
            name = "direct"
            archive = { url = "https://x/direct.whl", hashes = { sha256 = "ff" } }
            "#,
        );
        let lock = lock.unwrap();
        assert_eq!(
            lock.requirements,
            [
                "six==1.17.0 ; python_version < '4' --hash=md5:cc --hash=sha256:aa --hash=sha256:bb",
                "own==2 --hash=sha256:ee",
                "direct @ https://x/direct.whl --hash=sha256:ff",
            ]
        );
        let urls: Vec<_> = lock.archives.urls().collect();
        assert_eq!(urls, ["https://own/own.whl", "https://x/six-a.whl", "https://x/six-b.whl"]);
        assert_eq!(lock.requires_python.as_deref(), Some(">=3.11"));
        assert!(!lock.is_limited);
    }

    #[test]
    fn environments_limit_every_package() {
        let text = "environments = [\"sys_platform == 'linux'\", \"sys_platform == 'darwin'\"]
            packages = [{ name = 'x', version = '1', marker = \"os_name == 'posix'\",
                          wheels = [{ url = 'https://x/x.whl', hashes = { sha256 = 'aa' } }] }]";
        let lock = lock(text).unwrap();
        assert!(lock.is_limited);
        assert_eq!(
            lock.requirements,
            ["x==1 ; (os_name == 'posix') and ((sys_platform == 'linux') or \
              (sys_platform == 'darwin')) --hash=sha256:aa"]
        );
    }

    #[test]
    fn what_a_lock_leaves_out_by_default_is_left_out() {
        let text = r#"
            default-groups = ["default"]
            [[packages]]
            name = "x"
            marker = "'default' in dependency_groups"
            wheels = [{ url = "https://x/x-1%2Bl-py3-none-any.whl#y", hashes = { sha256 = "aa" } }]
            [[packages]]
            name = "y"
            version = "2"
            marker = "'dev' in dependency_groups or 'all' in extras"
            wheels = [{ url = "https://x/y.whl", hashes = { sha256 = "bb" } }]
            "#;
        assert_eq!(
            lock(text).unwrap().requirements,
            [
                "x==1+l ; python_version >= '0' --hash=sha256:aa",
                "y==2 ; python_version < '0' or python_version < '0' --hash=sha256:bb"
            ]
        );
    }

    #[test]
    fn what_cannot_be_installed_is_refused() {
        let wheel = "wheels = [{ url = 'https://x/x.whl', hashes = { sha256 = 'aa' } }]";
        for (package, says) in [
            (format!("name = 'x'\nversion = '1'\nmarker = \"extras == 'a'\"\n{wheel}"), "marker"),
            (format!("name = 'x'\nversion = \"1\\n-e .\"\n{wheel}"), "line"),
            ("name = 'x'\nversion = '1'\nwheels = [{ url = 'https://x/x.whl' }]".into(), "hash"),
            ("name = 'x'\nversion = '1'\n[packages.sdist]\nurl = 'https://x'".into(), "source"),
            ("name = 'x'\n[packages.vcs]\ntype = 'git'".into(), "version control"),
            ("name = 'x'\n[packages.directory]\npath = '.'".into(), "folder"),
            ("name = 'x'\n[packages.archive]\npath = 'x.whl'".into(), "another machine"),
            ("version = '1'".into(), "name"),
        ] {
            let error = lock(&format!("[[packages]]\n{package}\n")).unwrap_err();
            assert!(error.is_bad_input() && error.to_string().contains(says), "{error}");
        }
        assert!(read("lock-version = '2.0'").unwrap_err().to_string().contains("2.0"));
        assert!(read("six\n").unwrap_err().is_bad_input());
    }
}
