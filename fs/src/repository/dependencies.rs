//! Dependencies between the distributions of a view, by their metadata.
//!
//! Installed distributions have been resolved: a requirement is one of this view where what it names is
//! in it. So of markers only those that ask for extras are looked at. An extra is asked for by others in
//! the view, or by whoever has asked for the environment.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Repository, RepositoryError};
use crate::catalog::StoredDistribution;
use crate::id::ObjectId;
use crate::ingest::requirement::normalise;
use crate::requirements::Requirements;
use crate::store::sealed::Segment;
use crate::store::{Location, NOWHERE};

/// Longest metadata that is read, in bytes: a project's description follows what is looked for.
const MOST_BYTES: u64 = 1 << 20;

/// A requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dependency {
    /// The project's name, normalised.
    name: String,
    /// Extras of that project, normalised.
    extras: Vec<String>,
    /// Extras of the one that requires it, for any of which it does; none if it always does.
    only_for: Vec<String>,
}

impl Repository {
    /// Finds the others that each distribution of a view requires, by digest. Blocks.
    pub(super) fn required(
        &self,
        view: &str,
        parts: &[StoredDistribution],
        metadata: &HashMap<i64, ObjectId>,
    ) -> Result<BTreeMap<String, BTreeSet<String>>, RepositoryError> {
        let ids: Vec<i64> = parts.iter().map(|part| part.id).collect();
        let locations = self.catalog.locations(&ids)?;
        let mut segments = HashMap::new();
        let mut known = BTreeMap::new();
        for part in parts {
            let location = metadata.get(&part.id).and_then(|object| locations.get(object));
            let text = location.filter(|found| found.segment != NOWHERE && found.size < MOST_BYTES);
            let text = text.map(|location| self.read(*location, &mut segments)).transpose();
            // What cannot be read requires nothing: others tell of damage.
            let text = text.ok().flatten().unwrap_or_default();
            known.insert(normalise(&part.name), requirements(&String::from_utf8_lossy(&text)));
        }
        let mut asked = Vec::new();
        for wanted in self.catalog.requirements_of(view)? {
            if let Requirements::Listed { requirements, .. } = wanted {
                asked.extend(requirements.iter().filter_map(|line| Dependency::parse(line)));
            }
        }
        let digests: HashMap<String, &str> =
            parts.iter().map(|part| (normalise(&part.name), &*part.digest)).collect();
        let digest = |name: &String| digests.get(name).map(|&digest| digest.to_owned());
        let mut required = BTreeMap::new();
        for (name, others) in resolve(&known, &asked) {
            let others = others.iter().filter_map(digest).collect();
            required.extend(digest(&name).map(|digest| (digest, others)));
        }
        Ok(required)
    }

    fn read(
        &self,
        location: Location,
        segments: &mut HashMap<u32, Segment>,
    ) -> Result<Vec<u8>, RepositoryError> {
        use std::collections::hash_map::Entry;
        let segment = match segments.entry(location.segment) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(Segment::open(&*self.segments, location.segment)?),
        };
        Ok(segment.content(location)?)
    }
}

/// Resolves the others that each of some projects requires, with the extras that any of them and `asked`
/// ask for.
fn resolve(
    known: &BTreeMap<String, Vec<Dependency>>,
    asked: &[Dependency],
) -> BTreeMap<String, BTreeSet<String>> {
    let mut extras: BTreeSet<(&str, &str)> = asked.iter().flat_map(Dependency::asks).collect();
    let applies = |name: &str, one: &Dependency, extras: &BTreeSet<(&str, &str)>| {
        let is_asked = |extra: &String| extras.contains(&(name, &**extra));
        known.contains_key(&one.name)
            && (one.only_for.is_empty() || one.only_for.iter().any(is_asked))
    };
    loop {
        let before = extras.len();
        for (name, requirements) in known {
            for one in requirements {
                if applies(name, one, &extras) {
                    extras.extend(one.asks());
                }
            }
        }
        if extras.len() == before {
            break;
        }
    }
    let others = |(name, requirements): (&String, &Vec<Dependency>)| {
        let applying = requirements.iter().filter(|one| applies(name, one, &extras));
        let others = applying.map(|one| one.name.clone()).filter(|other| other != name);
        (name.clone(), others.collect())
    };
    known.iter().map(others).collect()
}

/// Dependencies that a distribution's metadata names.
fn requirements(metadata: &str) -> Vec<Dependency> {
    let headers = metadata.lines().take_while(|line| !line.is_empty());
    let values = headers.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("Requires-Dist").then_some(value)
    });
    values.filter_map(Dependency::parse).collect()
}

impl Dependency {
    /// Reads one, as metadata and users write it; none if it is something else.
    fn parse(text: &str) -> Option<Self> {
        let (text, marker) = text.split_once(';').unwrap_or((text, ""));
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let text = text.trim_start();
        let (name, rest) = text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()));
        let listed = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let extras = listed.map_or("", |(extras, _)| extras).split(',').map(str::trim);
        let extras = extras.filter(|extra| !extra.is_empty()).map(normalise).collect();
        let is_one = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let (name, only_for) = (normalise(name), extras_of(marker));
        is_one.then_some(Self { name, extras, only_for })
    }

    /// Extras that it asks for, each with whose it is.
    fn asks(&self) -> impl Iterator<Item = (&str, &str)> {
        self.extras.iter().map(|extra| (&*self.name, &**extra))
    }
}

/// Extras that a marker asks for: `extra == "x"`, or the other way round.
fn extras_of(marker: &str) -> Vec<String> {
    // Texts in quotes are every second part.
    let parts: Vec<&str> = marker.split(['"', '\'']).collect();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_compared_before = |text: &str| {
        let left = text.trim_end().strip_suffix("==").map(str::trim_end);
        left.is_some_and(|left| left.rsplit(|c| !is_part(c)).next() == Some("extra"))
    };
    let is_compared_after = |text: &str| {
        let right = text.trim_start().strip_prefix("==").map(str::trim_start);
        right.is_some_and(|right| right.split(|c| !is_part(c)).next() == Some("extra"))
    };
    let quoted = (1..parts.len()).step_by(2).filter(|&at| {
        let after = parts.get(at + 1).copied().unwrap_or_default();
        is_compared_before(parts[at - 1]) || is_compared_after(after)
    });
    quoted.map(|at| normalise(parts[at])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_read_as_metadata_has_them() {
        let metadata = "Metadata-Version: 2.4\nName: a\nRequires-Dist: B.b[x, Y_z] (>=1,<2)\n\
                        Requires-Dist: c>=1; extra == 'Some_Extra' and python_version < \"3.13\"\n\
                        requires-dist: d @ https://x/y ; \"docs\" == extra or extra=='test'\n\
                        Requires-Dist: e; sys_platform == 'win32'\n\nRequires-Dist: f\n";
        let one = |name: &str, extras: &[&str], only_for: &[&str]| Dependency {
            name: name.to_owned(),
            extras: extras.iter().map(|&one| one.to_owned()).collect(),
            only_for: only_for.iter().map(|&one| one.to_owned()).collect(),
        };
        let expected = [
            one("b-b", &["x", "y-z"], &[]),
            one("c", &[], &["some-extra"]),
            one("d", &[], &["docs", "test"]),
            one("e", &[], &[]),
        ];
        assert_eq!(requirements(metadata), expected);
        for line in ["--extra-index-url https://x", "", "# a comment", "[x]"] {
            assert_eq!(Dependency::parse(line), None, "{line}");
        }
        assert_eq!(Dependency::parse("a[b]==1 --hash=sha256:0"), Some(one("a", &["b"], &[])));
    }

    #[test]
    fn extras_are_those_that_somebody_asks_for() {
        let metadata = |lines: &[&str]| {
            lines.iter().filter_map(|line| Dependency::parse(line)).collect::<Vec<_>>()
        };
        let known: BTreeMap<_, _> = [
            ("a", metadata(&["b[x]", "gone", "d; extra == 'all'"])),
            ("b", metadata(&["c; extra == 'x'", "b[y]; extra == 'x'", "d; extra == 'z'"])),
            ("c", metadata(&[])),
            ("d", metadata(&["e; extra == 'w'"])),
            ("e", metadata(&["a; extra == 'x'"])),
        ]
        .map(|(name, all)| (name.to_owned(), all))
        .into();
        let others = |asked: &[&str]| {
            let found = resolve(&known, &metadata(asked));
            found.into_values().map(|all| all.into_iter().collect::<String>()).collect::<Vec<_>>()
        };
        assert_eq!(others(&["a"]), ["b", "c", "", "", ""]);
        assert_eq!(others(&["a[all]", "d[w]"]), ["bd", "c", "", "e", ""]);
    }
}
