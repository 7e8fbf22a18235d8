//! Files that importing modules reads: recorded when distributions are stored, so that a cold import can
//! be read ahead of. For speed alone: where it is wrong or missing, nothing else is.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Level of compression: read rarely, and small beside what it tells of.
const LEVEL: i32 = 9;
/// Largest trace that is read, in bytes of JSON. That of a hundred large packages has a tenth.
const MOST_BYTES: u64 = 64 << 20;

/// A module, as its import was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// The folder of a package, from the environment's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Files that are read, in order: from the environment's root, or absolute where they are the
    /// interpreter's or the system's.
    pub reads: Vec<String>,
    /// Modules that it imports, in order.
    pub needs: Vec<String>,
}

/// Modules by name, and what they are read with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The executable of the interpreter, which absolute paths belong to; none if there is none on this
    /// machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<PathBuf>,
    /// Ends of the names of extension modules: a package is first looked for as one of these.
    pub suffixes: Vec<String>,
    /// The modules.
    pub modules: BTreeMap<String, Module>,
}

impl Trace {
    /// Reads what [`Self::encode`] has written.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let decoder = zstd::stream::read::Decoder::new(bytes)?;
        Ok(serde_json::from_reader(decoder.take(MOST_BYTES))?)
    }

    /// Encodes the trace; the same bytes for the same trace.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        zstd::encode_all(&serde_json::to_vec(self)?[..], LEVEL)
    }

    /// The part of it that the modules with a file in `files` lead to; `None` if there is none.
    pub fn part(&self, files: &HashSet<&str>) -> Option<Self> {
        let is_own = |module: &Module| module.reads.iter().any(|path| files.contains(&**path));
        let own = self.modules.iter().filter(|(_, module)| is_own(module));
        let mut seen = BTreeSet::new();
        for (name, _) in own {
            self.walk(name, &mut seen, &mut |_, _| {});
        }
        let modules = seen
            .into_iter()
            .filter_map(|name| self.modules.get(&name).map(|module| (name, module.clone())));
        let part =
            Self { modules: modules.collect(), suffixes: self.suffixes.clone(), interpreter: None };
        (!part.modules.is_empty()).then_some(part)
    }

    /// The union of several; of a module that two have seen, the one that read more.
    pub fn union(traces: impl IntoIterator<Item = Self>) -> Self {
        let mut union = Self::default();
        for trace in traces {
            if union.suffixes.is_empty() {
                union.suffixes = trace.suffixes;
            }
            for (name, module) in trace.modules {
                let known = union.modules.entry(name).or_default();
                if module.reads.len() > known.reads.len() || known.needs.is_empty() {
                    *known = module;
                }
            }
        }
        union
    }

    /// Leaves out files of the environment that it does not have.
    pub fn retain(&mut self, has: impl Fn(&str) -> bool) {
        for module in self.modules.values_mut() {
            module.reads.retain(|path| path.starts_with('/') || has(path));
        }
    }

    /// A module and all that its import needs, in the order in which they are read, but those that
    /// are `seen` already.
    pub fn walk<'a>(
        &'a self,
        name: &'a str,
        seen: &mut BTreeSet<String>,
        found: &mut dyn FnMut(&'a str, &'a Module),
    ) {
        let mut waiting = vec![name];
        while let Some(name) = waiting.pop() {
            let Some((name, module)) = self.modules.get_key_value(name) else { continue };
            if seen.contains(name) {
                continue;
            }
            // A package is imported before what is in it.
            let outer = outer(name)
                .find(|outer| self.modules.contains_key(*outer) && !seen.contains(*outer));
            if let Some(outer) = outer {
                waiting.extend([name, outer]);
                continue;
            }
            seen.insert(name.clone());
            found(name, module);
            waiting.extend(module.needs.iter().rev().map(String::as_str));
        }
    }
}

/// The packages that a module is in, outermost first.
fn outer(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(at, _)| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trace(modules: &[(&str, &[&str], &[&str])]) -> Trace {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let modules = modules.iter().map(|(name, reads, needs)| {
            let module = Module { folder: None, reads: owned(reads), needs: owned(needs) };
            ((*name).to_owned(), module)
        });
        Trace { modules: modules.collect(), ..Trace::default() }
    }

    fn order(trace: &Trace, name: &str) -> Vec<String> {
        let mut names = Vec::new();
        trace.walk(name, &mut BTreeSet::new(), &mut |name, _| names.push(name.to_owned()));
        names
    }

    #[test]
    fn what_a_module_needs_comes_after_it_and_its_packages_before() {
        let trace = trace(&[
            ("a", &["a.pyc"], &["b.c.d", "gone"]),
            ("b", &["b.pyc"], &["a"]),
            ("b.c", &["bc.pyc"], &["e"]),
            ("b.c.d", &["bcd.pyc"], &[]),
            ("e", &["/lib/e.pyc"], &[]),
        ]);
        assert_eq!(order(&trace, "a"), ["a", "b", "b.c", "e", "b.c.d"]);
        assert_eq!(order(&trace, "e"), ["e"]);
        assert!(order(&trace, "gone").is_empty());
    }

    #[test]
    fn a_part_has_what_its_files_lead_to_and_parts_make_the_whole() {
        let whole =
            trace(&[("a", &["a.pyc"], &["b"]), ("b", &["b.pyc"], &[]), ("c", &["c.pyc"], &["b"])]);
        let part = |file| whole.part(&HashSet::from([file])).unwrap();
        assert_eq!(part("a.pyc").modules.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(part("b.pyc").modules.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(whole.part(&HashSet::from(["other"])), None);
        assert_eq!(Trace::union([part("c.pyc"), part("a.pyc")]), whole);
    }

    proptest! {
        #[test]
        fn following_visits_each_once_whatever_needs_what(
            edges in proptest::collection::vec((0..12_u8, 0..12_u8), 0..40),
        ) {
            let mut trace = Trace::default();
            for (from, to) in edges {
                let name = |n: u8| if n.is_multiple_of(3) { format!("p.m{n}") } else { format!("m{n}") };
                trace.modules.entry(name(to)).or_default();
                trace.modules.entry(name(from)).or_default().needs.push(name(to));
            }
            prop_assert_eq!(&Trace::decode(&trace.encode().unwrap()).unwrap(), &trace);
            for name in trace.modules.keys() {
                let found = order(&trace, name);
                let once: BTreeSet<_> = found.iter().collect();
                prop_assert_eq!(once.len(), found.len());
                prop_assert!(once.contains(name));
            }
        }
    }
}
