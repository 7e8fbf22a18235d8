//! What uv is asked for and what its answer is held to, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};

use super::archives::Archives;
use super::lock::{Locked, normalise};
use super::{AddError, credentials, pylock};
use crate::interpreter::Interpreter;
use crate::requirements::Requirements;

/// Digests that two contents are not made to share.
const STRONG: [&str; 3] = ["sha256:", "sha384:", "sha512:"];

/// What uv is asked for and what its answer is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Lines of a requirements file.
    pub requirements: Vec<String>,
    /// Lines of a constraints file.
    pub constraints: Vec<String>,
    /// Whether they name everything: nothing is added for what they depend on.
    pub is_complete: bool,
    /// Where wheels are, where a lock has said so.
    pub archives: Archives,
    /// Normalised names that are asked for themselves.
    pub requested: BTreeSet<String>,
    /// Digests that were given, `algorithm:digest`, by normalised name; where there are any, every
    /// distribution needs one.
    hashes: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Whether everything may be left out for its markers.
    may_be_empty: bool,
    /// Whether what has no wheel may be built.
    pub may_build: bool,
}

impl Wanted {
    /// Reads requirements. Refuses those of another Python, and addresses with credentials.
    pub fn of(requirements: &Requirements, interpreter: &Interpreter) -> Result<Self, AddError> {
        let wanted = match requirements {
            Requirements::Listed { requirements, constraints, requires_python, allow_build } => {
                check_python(requires_python.as_deref(), interpreter)?;
                check_options(requirements.iter().chain(constraints))?;
                if *allow_build && !interpreter.is_present {
                    return Err(AddError::unsatisfiable(format!(
                        "--allow-build takes the interpreter itself, and this machine has no Python \
                         {}; name one with --python",
                        interpreter.short_version()
                    )));
                }
                let listed = Self::listed(requirements.clone(), constraints.clone(), false);
                Self { may_build: *allow_build, ..listed }
            }
            Requirements::Locked { lock } => {
                let lock = pylock::read(lock)?;
                check_python(lock.requires_python.as_deref(), interpreter)?;
                Self {
                    may_be_empty: !lock.is_limited,
                    archives: lock.archives,
                    ..Self::listed(lock.requirements, Vec::new(), true)
                }
            }
        };
        let lines = wanted.requirements.iter().chain(&wanted.constraints).map(String::as_str);
        if lines.chain(wanted.archives.urls()).any(credentials::are_in) {
            return Err(AddError::unsatisfiable(
                "the requirements have an address with credentials, which would be stored with \
                 them; give those to the supervisor instead, as [index] of its configuration file",
            ));
        }
        Ok(wanted)
    }

    fn listed(requirements: Vec<String>, constraints: Vec<String>, is_complete: bool) -> Self {
        let mut hashes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for line in requirements.iter().chain(&constraints) {
            // What has no name is held to nothing that it could have, and so refused.
            let name = || name_of(line).unwrap_or_else(|| line.to_owned());
            for hash in given_hashes(line) {
                hashes.entry(name()).or_default().insert(hash.to_ascii_lowercase());
            }
        }
        let is_demanded = requirements.iter().any(|line| line == "--require-hashes");
        Self {
            requested: requirements.iter().filter_map(|line| name_of(line)).collect(),
            requirements,
            constraints,
            is_complete,
            archives: Archives::default(),
            hashes: (is_demanded || !hashes.is_empty()).then_some(hashes),
            may_be_empty: true,
            may_build: false,
        }
    }

    /// The lines that ask for a package by its normalised name.
    pub fn lines_of(&self, package: &str) -> Vec<String> {
        let asks = |line: &&String| name_of(line).is_some_and(|name| name == package);
        self.requirements.iter().filter(asks).cloned().collect()
    }

    /// Options among the requirements, such as where the index is.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        self.requirements.iter().map(String::as_str).filter(|line| line.starts_with('-'))
    }

    /// Holds what was chosen to the digests that were given: once there is one, all are needed, and
    /// only what has it may be installed.
    pub fn hold(&self, chosen: Vec<Locked>) -> Result<Vec<Locked>, AddError> {
        if chosen.is_empty() && !self.may_be_empty {
            return Err(AddError::unsatisfiable("the lock is for other environments than this"));
        }
        let Some(hashes) = &self.hashes else { return strong(chosen) };
        let without: Vec<String> = chosen
            .iter()
            .filter(|one| !hashes.contains_key(&one.name))
            .map(|one| format!("{}=={}", one.name, one.version))
            .collect();
        if !without.is_empty() {
            return Err(AddError::unsatisfiable(format!(
                "once a --hash is given every distribution needs one, and there is none for {}",
                without.join(", ")
            )));
        }
        chosen.into_iter().map(|one| hold_one(&hashes[&one.name], one)).collect()
    }

    /// A package of which something else was chosen than has a digest that was given, and of which it is
    /// not known where that is.
    pub fn mistaken(&self, chosen: &[Locked]) -> Option<String> {
        let hashes = self.hashes.as_ref()?;
        let is_mistaken = |one: &&Locked| {
            let given = hashes.get(&one.name);
            given.is_some_and(|given| hold_one(given, (*one).clone()).is_err())
        };
        let one = chosen.iter().filter(is_mistaken).find(|one| !self.archives.has(&one.name))?;
        Some(one.name.clone())
    }

    /// Whether a digest is given for a package.
    pub fn gives(&self, package: &str, hash: &str) -> bool {
        let given = self.hashes.as_ref().and_then(|hashes| hashes.get(package));
        given.is_some_and(|given| given.contains(hash))
    }

    /// Whether every distribution needs a digest that was given.
    pub fn is_hashed(&self) -> bool {
        self.hashes.is_some()
    }
}

/// Refuses what an index has with digests alone that can be made to fit other content.
fn strong(chosen: Vec<Locked>) -> Result<Vec<Locked>, AddError> {
    let is_strong = |hash: &String| STRONG.iter().any(|prefix| hash.starts_with(prefix));
    match chosen.iter().find(|one| !one.hashes.iter().all(is_strong)) {
        None => Ok(chosen),
        Some(one) => Err(AddError::unsatisfiable(format!(
            "{} {} is in its index without a strong hash, such as SHA-256; give a --hash of it",
            one.name, one.version
        ))),
    }
}

fn hold_one(given: &BTreeSet<String>, mut one: Locked) -> Result<Locked, AddError> {
    // Built here, from a source that was given.
    if one.source.as_ref().is_some_and(|source| given.contains(source)) {
        return Ok(one);
    }
    // The lock knows SHA-256 alone; uv checks the others when it has the file.
    let (known, other): (Vec<_>, Vec<_>) =
        given.iter().cloned().partition(|hash| hash.starts_with("sha256:"));
    let known: Vec<_> = known.into_iter().filter(|hash| one.hashes.contains(hash)).collect();
    let held = if known.is_empty() { other } else { known };
    if held.is_empty() {
        return Err(AddError::unsatisfiable(format!(
            "{} {} has no wheel for this interpreter with any --hash that was given for it",
            one.name, one.version
        )));
    }
    one.hashes = held;
    Ok(one)
}

/// The digests that a line gives, in either way in which options are written.
fn given_hashes(line: &str) -> impl Iterator<Item = &str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let given = words.iter().enumerate().filter_map(|(at, word)| {
        match word.strip_prefix("--hash")?.strip_prefix('=') {
            Some(hash) => Some(hash),
            None if *word == "--hash" => words.get(at + 1).copied(),
            None => None,
        }
    });
    given.collect::<Vec<_>>().into_iter()
}

/// The name of the wheel at an address.
fn name_of_wheel(address: &str) -> Option<String> {
    let file = address.split([' ', ';', '?', '#']).next()?.rsplit('/').next()?;
    let (name, rest) = file.strip_suffix(".whl")?.split_once('-')?;
    (rest.split('-').count() >= 4).then(|| normalise(name))
}

/// The normalised name that a line asks for; none of an option, or of an address that is no wheel's.
fn name_of(line: &str) -> Option<String> {
    let end = line
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'))
        .unwrap_or(line.len());
    let name = &line[..end];
    if line[end..].starts_with("://") {
        return name_of_wheel(line);
    }
    name.starts_with(|c: char| c.is_ascii_alphanumeric()).then(|| normalise(name))
}

/// uv builds what `--no-binary` names, and would do so where there is a network.
fn check_options<'a>(mut lines: impl Iterator<Item = &'a String>) -> Result<(), AddError> {
    match lines.find(|line| line.starts_with("--no-binary")) {
        None => Ok(()),
        Some(line) => Err(AddError::unsatisfiable(format!(
            "{line}: packages are installed from wheels; --allow-build builds what has none"
        ))),
    }
}

fn check_python(requires: Option<&str>, interpreter: &Interpreter) -> Result<(), AddError> {
    let Some(requires) = requires else { return Ok(()) };
    let unreadable = |error: String| {
        AddError::unsatisfiable(format!("requires-python {requires:?} cannot be read: {error}"))
    };
    let specifiers =
        VersionSpecifiers::from_str(requires).map_err(|error| unreadable(error.to_string()))?;
    let version =
        Version::from_str(&interpreter.version).map_err(|error| unreadable(error.to_string()))?;
    if specifiers.contains(&version) {
        return Ok(());
    }
    Err(AddError::unsatisfiable(format!(
        "Python {requires} is required, and {} is Python {}; name another interpreter with --python",
        interpreter.executable.display(),
        interpreter.version
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter() -> Interpreter {
        Interpreter {
            executable: "/usr/bin/python3.11".into(),
            version: "3.11.7".to_owned(),
            base_prefix: "/usr".into(),
            named: Vec::new(),
            parts: Vec::new(),
            library: None,
            cache_tag: "cpython-311".to_owned(),
            implementation: "cpython".to_owned(),
            platform: "linux-x86_64".to_owned(),
            is_present: true,
        }
    }

    fn wanted(lines: &[&str]) -> Wanted {
        Wanted::of(&Requirements::of(lines.iter().copied()), &interpreter()).unwrap()
    }

    fn locked(name: &str, hashes: &[&str]) -> Locked {
        Locked {
            name: name.to_owned(),
            version: "1".to_owned(),
            url: None,
            source: None,
            hashes: hashes.iter().map(|hash| format!("sha256:{hash}")).collect(),
        }
    }

    #[test]
    fn what_is_requested_are_the_names_of_the_lines() {
        let wanted = wanted(&[
            "numpy>=2",
            "Requests[socks] ; python_version > '3'",
            "pkg@https://host/x.whl",
            "https://host/y.whl",
            "https://host/a-b/My_Own-1.0+x-py3-none-any.whl?c=d-e.whl#sha256=aa",
            "--pre",
        ]);
        let names: Vec<_> = wanted.requested.iter().map(String::as_str).collect();
        assert_eq!(names, ["my-own", "numpy", "pkg", "requests"]);
        assert_eq!(wanted.options().collect::<Vec<_>>(), ["--pre"]);
    }

    #[test]
    fn once_there_is_a_hash_all_are_needed() {
        let one = wanted(&["Six==1 --hash=sha256:AA --hash=sha256:bb", "idna"]);
        assert!(one.hold(vec![locked("six", &["aa"]), locked("idna", &["cc"])]).is_err());
        assert!(one.hold(vec![locked("six", &["cc"])]).is_err());
        let held = one.hold(vec![locked("six", &["aa", "cc"])]).unwrap();
        assert_eq!(held, [locked("six", &["aa"])]);
        assert!(wanted(&["idna"]).hold(vec![locked("idna", &["cc"])]).is_ok());
        assert!(wanted(&["--require-hashes", "idna"]).hold(vec![locked("idna", &["cc"])]).is_err());
        // Of what has been held already, the same is held.
        assert_eq!(one.hold(held.clone()).unwrap(), held);
        let weak = Locked { hashes: vec!["md5:aa".to_owned()], ..locked("idna", &[]) };
        assert!(wanted(&["idna"]).hold(vec![weak]).unwrap_err().is_bad_input());
        // In every way in which they may be written.
        for line in [
            "six==1 --hash sha256:aa",
            "six==1\t--hash=sha256:AA",
            "https://x/six-1-py3-none-any.whl --hash=sha256:aa",
            "https://x/six-1-py3-none-any.whl  --hash  sha256:aa",
        ] {
            let one = wanted(&[line]);
            assert!(one.is_hashed() && one.hold(vec![locked("six", &["cc"])]).is_err(), "{line}");
            assert_eq!(one.hold(held.clone()).unwrap(), held, "{line}");
        }
        let nameless = wanted(&["https://x/six.tar.gz --hash=sha256:aa"]);
        assert!(nameless.hold(vec![locked("six", &["aa"])]).is_err());
        let both = wanted(&["six --hash=sha256:aa --hash=md5:ee"]);
        assert_eq!(both.hold(vec![locked("six", &["aa"])]).unwrap()[0].hashes, ["sha256:aa"]);
        let other = wanted(&["six --hash=sha512:dd"]);
        assert_eq!(other.hold(vec![locked("six", &["aa"])]).unwrap()[0].hashes, ["sha512:dd"]);
    }

    #[test]
    fn another_python_and_credentials_are_refused() {
        let of = |requires: &str, line: &str| {
            let requirements = Requirements::Listed {
                requirements: vec![line.to_owned()],
                constraints: Vec::new(),
                requires_python: Some(requires.to_owned()),
                allow_build: false,
            };
            Wanted::of(&requirements, &interpreter())
        };
        assert!(of(">=3.9, <4", "six").is_ok());
        assert!(of("~=3.11.2", "six").is_ok());
        let error = of(">=3.12", "six").unwrap_err();
        assert!(error.is_bad_input() && error.to_string().contains("3.11.7"), "{error}");
        assert!(of("banana", "six").unwrap_err().is_bad_input());
        let error = of(">=3", "--no-binary six").unwrap_err().to_string();
        assert!(error.contains("--allow-build"), "{error}");
        let error = of(">=3", "--index-url https://me:secret@host/simple").unwrap_err();
        assert!(error.is_bad_input() && !error.to_string().contains("secret"), "{error}");
    }
}
