//! Question to uv and what its answer is held to, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};

use crate::ingest::confine::Reach;
use crate::ingest::requirement::{Address, Choice, Line, LineError, Requirement};
use crate::ingest::resolve::archive_urls::ArchiveUrls;
use crate::ingest::resolve::lock::Locked;
use crate::ingest::resolve::pylock;
use crate::ingest::{AddError, credentials};
use crate::interpreter::Interpreter;
use crate::requirements::Requirements;

/// Digests that two contents are not made to share.
const STRONG: [&str; 3] = ["sha256:", "sha384:", "sha512:"];

/// Question to uv and what its answer is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Requirements that are asked for.
    pub requirements: Vec<Requirement>,
    /// Constraints of these.
    pub constraints: Vec<Requirement>,
    /// Options among the requirements, such as where the index is.
    pub choices: Vec<Choice>,
    /// True if the requirements name everything: nothing is added for what they depend on.
    pub is_complete: bool,
    /// Addresses of wheels, if a lock has said them.
    pub archives: ArchiveUrls,
    /// Normalised names that are asked for themselves.
    pub requested: BTreeSet<String>,
    /// Digests that were given, `algorithm:digest`, by normalised name; where there are any, every
    /// distribution needs one.
    hashes: Option<BTreeMap<String, BTreeSet<String>>>,
    /// True if everything may be left out for its markers.
    may_be_empty: bool,
    /// True if what has no wheel may be built.
    pub may_build: bool,
    /// The hosts that the user has named; none if a package has said it all.
    pub reach: Reach,
}

impl Wanted {
    /// Reads requirements. Refuses those of another Python, and lines that are not understood.
    pub fn of(requirements: &Requirements, interpreter: &Interpreter) -> Result<Self, AddError> {
        match requirements {
            Requirements::Listed {
                requirements,
                constraints,
                requires_python,
                allow_build,
                is_brought,
            } => {
                check_python(requires_python.as_deref(), interpreter)?;
                if *allow_build && !interpreter.is_present {
                    return Err(AddError::unsatisfiable(format!(
                        "--allow-build takes the interpreter itself, and this machine has no Python \
                         {}; name one with --python",
                        interpreter.short_version()
                    )));
                }
                let listed = Self::listed(requirements, constraints, *is_brought)?;
                Ok(Self { may_build: *allow_build, ..listed })
            }
            Requirements::Locked { lock, is_brought } => {
                let lock = pylock::read(lock)?;
                check_python(lock.requires_python.as_deref(), interpreter)?;
                let mut listed = Self::listed(&lock.requirements, &[], *is_brought)?;
                for url in lock.archives.urls() {
                    let reason = |reason: String| {
                        let url = credentials::hide(url);
                        AddError::unsatisfiable(format!("the lock is refused: {url:?}: {reason}"))
                    };
                    let address = Address::parse(url).map_err(|error| reason(error.to_string()))?;
                    if !*is_brought {
                        listed.reach.named.insert(address.authority());
                    } else if address.is_of_this_machine() {
                        return Err(reason(OF_THIS_MACHINE.to_owned()));
                    }
                }
                Ok(Self {
                    may_be_empty: !lock.is_limited,
                    archives: lock.archives,
                    is_complete: true,
                    ..listed
                })
            }
        }
    }

    /// Requirements that a package has of its own, for being built.
    pub fn by_package(requirements: &[String]) -> Result<Self, AddError> {
        let wanted = Self::listed(requirements, &[], true)?;
        if wanted.choices.is_empty() {
            return Ok(wanted);
        }
        Err(AddError::unsatisfiable("a package has options among what it needs for being built"))
    }

    fn listed(
        requirements: &[String],
        constraints: &[String],
        is_brought: bool,
    ) -> Result<Self, AddError> {
        let (requirements, choices) = read(requirements, is_brought)?;
        // Options of constraints have no effect, as with uv.
        let (constraints, _) = read(constraints, is_brought)?;
        let mut hashes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for one in requirements.iter().chain(&constraints).filter(|one| !one.hashes.is_empty()) {
            hashes.entry(one.name.clone()).or_default().extend(one.hashes.iter().cloned());
        }
        let all = requirements.iter().chain(&constraints);
        let addresses = all.filter_map(Requirement::address);
        let named =
            addresses.chain(choices.iter().filter_map(Choice::address)).map(Address::authority);
        let reach = if is_brought { Reach::default() } else { Reach { named: named.collect() } };
        let is_demanded = choices.contains(&Choice::RequireHashes);
        Ok(Self {
            requested: requirements.iter().map(|one| one.name.clone()).collect(),
            requirements,
            constraints,
            choices,
            is_complete: false,
            archives: ArchiveUrls::default(),
            hashes: (is_demanded || !hashes.is_empty()).then_some(hashes),
            may_be_empty: true,
            may_build: false,
            reach,
        })
    }

    /// The requirements that ask for a package by its normalised name.
    pub fn asking_for(&self, package: &str) -> Vec<Requirement> {
        self.requirements.iter().filter(|one| one.name == package).cloned().collect()
    }

    /// Holds what was chosen to the digests that were given: once there is one, all are needed, and
    /// only what has it may be installed.
    pub fn restrict_to_hashes(&self, chosen: Vec<Locked>) -> Result<Vec<Locked>, AddError> {
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
        chosen.into_iter().map(|one| restrict_one(&hashes[&one.name], one)).collect()
    }

    /// A package of which something else was chosen than has a digest that was given, and of which it is
    /// not known where that is.
    pub fn mistaken(&self, chosen: &[Locked]) -> Option<String> {
        let hashes = self.hashes.as_ref()?;
        let is_mistaken = |one: &&Locked| {
            let given = hashes.get(&one.name);
            given.is_some_and(|given| restrict_one(given, (*one).clone()).is_err())
        };
        let one = chosen.iter().filter(is_mistaken).find(|one| !self.archives.has(&one.name))?;
        Some(one.name.clone())
    }

    /// True if a digest is given for a package.
    pub fn gives(&self, package: &str, hash: &str) -> bool {
        let given = self.hashes.as_ref().and_then(|hashes| hashes.get(package));
        given.is_some_and(|given| given.contains(hash))
    }

    /// True if every distribution needs a digest that was given.
    pub fn is_hashed(&self) -> bool {
        self.hashes.is_some()
    }
}

/// Refuses what is refused without looking anywhere: a lock that cannot be read, another Python
/// than that of `interpreter`, addresses with credentials.
pub fn check_requirements(
    requirements: &Requirements,
    interpreter: &Interpreter,
) -> Result<(), AddError> {
    Wanted::of(requirements, interpreter).map(drop)
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

fn restrict_one(given: &BTreeSet<String>, mut one: Locked) -> Result<Locked, AddError> {
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

const OF_THIS_MACHINE: &str =
    "a package names an address of this machine; only the user may do that";

/// Requirements, and options among them.
fn read(lines: &[String], is_brought: bool) -> Result<(Vec<Requirement>, Vec<Choice>), AddError> {
    let refused = |error: LineError| AddError::unsatisfiable(error.to_string());
    let (mut requirements, mut choices) = (Vec::new(), Vec::new());
    for line in lines {
        match Line::parse(line).map_err(refused)? {
            Line::Requirement(one) => requirements.push(one),
            Line::Choice(choice) => choices.push(choice),
        }
    }
    let direct = requirements.iter().filter_map(Requirement::address);
    let places = choices.iter().filter_map(Choice::address);
    match direct.chain(places).find(|address| is_brought && address.is_of_this_machine()) {
        Some(own) => Err(AddError::unsatisfiable(format!("{own}: {OF_THIS_MACHINE}"))),
        None => Ok((requirements, choices)),
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
            "https://host/a-b/My_Own-1.0+x-py3-none-any.whl?c=d-e.whl#sha256=aa",
            "--pre",
        ]);
        let names: Vec<_> = wanted.requested.iter().map(String::as_str).collect();
        assert_eq!(names, ["my-own", "numpy", "pkg", "requests"]);
        assert_eq!(wanted.choices, [Choice::Pre]);
        let hosts: Vec<_> = wanted.reach.named.into_iter().map(|(host, _)| host).collect();
        assert_eq!(hosts, ["host"]);
    }

    #[test]
    fn once_there_is_a_hash_all_are_needed() {
        let one = wanted(&["Six==1 --hash=sha256:AA --hash=sha256:bb", "idna"]);
        assert!(
            one.restrict_to_hashes(vec![locked("six", &["aa"]), locked("idna", &["cc"])]).is_err()
        );
        assert!(one.restrict_to_hashes(vec![locked("six", &["cc"])]).is_err());
        let held = one.restrict_to_hashes(vec![locked("six", &["aa", "cc"])]).unwrap();
        assert_eq!(held, [locked("six", &["aa"])]);
        assert!(wanted(&["idna"]).restrict_to_hashes(vec![locked("idna", &["cc"])]).is_ok());
        assert!(
            wanted(&["--require-hashes", "idna"])
                .restrict_to_hashes(vec![locked("idna", &["cc"])])
                .is_err()
        );
        // Of what has been held already, the same is held.
        assert_eq!(one.restrict_to_hashes(held.clone()).unwrap(), held);
        let weak = Locked { hashes: vec!["md5:aa".to_owned()], ..locked("idna", &[]) };
        assert!(wanted(&["idna"]).restrict_to_hashes(vec![weak]).unwrap_err().is_bad_input());
        // In every way in which they may be written.
        for line in [
            "six==1 --hash sha256:aa",
            "six==1\t--hash=sha256:AA",
            "https://x/six-1-py3-none-any.whl --hash=sha256:aa",
            "https://x/six-1-py3-none-any.whl  --hash  sha256:aa",
        ] {
            let one = wanted(&[line]);
            assert!(
                one.is_hashed() && one.restrict_to_hashes(vec![locked("six", &["cc"])]).is_err(),
                "{line}"
            );
            assert_eq!(one.restrict_to_hashes(held.clone()).unwrap(), held, "{line}");
        }
        let both = wanted(&["six --hash=sha256:aa --hash=md5:ee"]);
        assert_eq!(
            both.restrict_to_hashes(vec![locked("six", &["aa"])]).unwrap()[0].hashes,
            ["sha256:aa"]
        );
        let other = wanted(&["six --hash=sha512:dd"]);
        assert_eq!(
            other.restrict_to_hashes(vec![locked("six", &["aa"])]).unwrap()[0].hashes,
            ["sha512:dd"]
        );
    }

    #[test]
    fn another_python_and_credentials_are_refused() {
        let of = |requires: &str, line: &str| {
            let requirements = Requirements::Listed {
                requirements: vec![line.to_owned()],
                constraints: Vec::new(),
                requires_python: Some(requires.to_owned()),
                allow_build: false,
                is_brought: false,
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

    #[test]
    fn what_a_package_says_leads_to_no_place_of_this_machine() {
        let line = "x @ http://127.0.0.1:8000/x-1-py3-none-any.whl".to_owned();
        let brought = |lines: &[&str]| {
            let requirements = Requirements::brought(lines.iter().copied());
            Wanted::of(&requirements, &interpreter())
        };
        assert!(!wanted(&[&line]).reach.named.is_empty());
        for lines in [[line.as_str()], ["-i http://localhost/simple"], ["-f http://[::1]/"]] {
            let error = brought(&lines).unwrap_err();
            assert!(error.is_bad_input() && error.to_string().contains("this machine"), "{error}");
        }
        // A name that may lead here is followed by nobody who has not named it himself.
        assert!(
            brought(&["x @ http://inside/x-1-py3-none-any.whl"]).unwrap().reach.named.is_empty()
        );
        assert!(Wanted::by_package(&["setuptools>=40".to_owned()]).is_ok());
        for line in [line.as_str(), "--pre", "six\r--pre", "x @ https://host/${A}"] {
            let error = Wanted::by_package(&[line.to_owned()]).unwrap_err();
            assert!(error.is_bad_input(), "{line}: {error}");
        }
    }
}
