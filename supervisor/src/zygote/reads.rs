//! Reads of a zygote's imports from their surroundings, compared with what a function would read.
//!
//! The result of an import depends on what it has read. A zygote serves only functions for which it would
//! have read the same.

use std::collections::BTreeSet;
use std::fmt;

use pipsqueak_fs::Distribution;

use crate::deployment::Variables;
use crate::environment::Tree;
use crate::protocol::Reads;

/// Name that stands for all names.
const ALL: &str = "*";
/// Name that stands for all variables with the network's proxies.
const PROXIES: &str = "*_proxy";
/// A variable that differs in each process.
const OF_EACH: &str = "AWS_LAMBDA_LOG_STREAM_NAME";

/// A read whose answer differs between a zygote and a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// A variable.
    Variable(String),
    /// A module that the function's environment has.
    Module(String),
    /// A distribution that the function's environment has.
    Distribution(String),
    /// The list of all distributions.
    Distributions,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Module(name) => write!(f, "whether there is a module {name}"),
            Self::Distribution(name) => write!(f, "whether distribution {name} is installed"),
            Self::Distributions => write!(f, "the list of what is installed"),
        }
    }
}

impl Reads {
    /// Notes that the memory limit was read, which differs for each function.
    pub fn note_limit(&mut self) {
        self.variables.insert(OF_EACH.to_owned());
    }

    /// Reads whose answer differs between a zygote and a function. Each of the two is given as its
    /// variables and the environment that it sees.
    pub fn differences(
        &self,
        zygote: (&Variables, &Tree),
        function: (&Variables, &Tree),
    ) -> BTreeSet<Difference> {
        let mut found = self.differences_of(zygote.0, function.0);
        if zygote.1.key != function.1.key {
            let more = function.1.distributions.iter();
            let more = more.filter(|(digest, _)| !zygote.1.distributions.contains_key(*digest));
            let more: Vec<_> = more.map(|(_, distribution)| distribution).collect();
            let can_import = |module: &str| {
                // At first only top-level names of an environment are known, so any module below counts.
                function.1.known_imports().is_none_or(|known| known.owner(module).is_some())
            };
            found.extend(self.differences_by(&more, can_import));
        }
        found
    }

    /// Differences in the variables of a zygote and of a function.
    fn differences_of(&self, had: &Variables, has: &Variables) -> BTreeSet<Difference> {
        let names = had.names().chain(has.names());
        let other = names.filter(|name| had.value(name) != has.value(name) && self.has_read(name));
        let of_each = self.variables.contains(OF_EACH).then_some(OF_EACH);
        other.chain(of_each).map(|name| Difference::Variable(name.to_owned())).collect()
    }

    /// Differences from an environment with `more` distributions.
    fn differences_by(
        &self,
        more: &[&Distribution],
        can_import: impl Fn(&str) -> bool,
    ) -> BTreeSet<Difference> {
        let mut found = BTreeSet::new();
        if !more.is_empty() && self.distributions.contains(ALL) {
            found.insert(Difference::Distributions);
        }
        let names: BTreeSet<_> = self.distributions.iter().map(|name| normalized(name)).collect();
        for one in more {
            if names.contains(&normalized(&one.name)) {
                found.insert(Difference::Distribution(one.name.clone()));
            }
            for top in &one.modules {
                let below = format!("{top}.");
                let below = self
                    .modules
                    .range(below.clone()..)
                    .take_while(move |name| name.starts_with(&below));
                let missed = below.filter(|name| can_import(name)).chain(self.modules.get(top));
                found.extend(missed.cloned().map(Difference::Module));
            }
        }
        found
    }

    fn has_read(&self, name: &str) -> bool {
        let is_proxy = || name.to_ascii_lowercase().ends_with("_proxy");
        self.variables.contains(name)
            // An import that reads all variables does not depend on those that tell a function about
            // itself.
            || self.variables.contains(ALL) && !Variables::is_told(name)
            || self.variables.contains(PROXIES) && is_proxy()
    }
}

/// The normalised name of a project (PEP 503).
fn normalized(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn names(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|&name| name.to_owned()).collect()
    }

    fn reads(variables: &[&str], modules: &[&str], distributions: &[&str]) -> Reads {
        Reads {
            variables: names(variables),
            modules: names(modules),
            distributions: names(distributions),
        }
    }

    fn distribution(name: &str, modules: &[&str]) -> Distribution {
        Distribution {
            name: name.to_owned(),
            version: "1".to_owned(),
            digest: name.to_owned(),
            requested: false,
            modules: modules.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn some_variables() -> impl Strategy<Value = BTreeMap<String, String>> {
        prop::collection::btree_map("[A-D]|PATH|LANG", "[01]", 0..5)
    }

    proptest! {
        #[test]
        fn it_serves_exactly_those_for_whom_each_variable_that_was_read_is_the_same(
            read in prop::collection::btree_set("[A-F]|PATH|LANG", 0..6),
            had in some_variables(),
            has in some_variables(),
        ) {
            let reads = Reads { variables: read.clone(), ..Reads::default() };
            let (had, has) = (Variables::from(had), Variables::from(has));
            let differences = reads.differences_of(&had, &has);
            let other = read.iter().filter(|name| had.value(name) != has.value(name));
            let expected: BTreeSet<_> = other.cloned().map(Difference::Variable).collect();
            prop_assert_eq!(differences, expected);
        }
    }

    #[test]
    fn whoever_reads_all_variables_reads_those_that_a_function_sets() {
        let set = |name: &str| Variables::from(BTreeMap::from([(name.to_owned(), "1".to_owned())]));
        let differs = |read: &str, name: &str| {
            !reads(&[read], &[], &[]).differences_of(&Variables::default(), &set(name)).is_empty()
        };
        assert!(differs(ALL, "OWN") && differs(ALL, "PATH"));
        assert!(!differs(ALL, "AWS_LAMBDA_FUNCTION_NAME"));
        assert!(differs("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_NAME"));
        assert!(differs(PROXIES, "https_proxy") && differs(PROXIES, "NO_PROXY"));
        assert!(!differs(PROXIES, "OWN"));
        assert!(differs(OF_EACH, "OWN"));
    }

    #[test]
    fn what_was_missed_is_looked_for_in_what_an_environment_has_more() {
        let more = [distribution("Some.Thing", &["some_thing", "shared"])];
        let more: Vec<_> = more.iter().collect();
        let found = |reads: Reads, can_import: bool| {
            let found = reads.differences_by(&more, |_| can_import);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let missed = |names: &[&str]| reads(&[], names, &[]);
        assert_eq!(found(missed(&["some_thing"]), false), ["whether there is a module some_thing"]);
        assert_eq!(
            found(missed(&["shared.part"]), true),
            ["whether there is a module shared.part"]
        );
        assert_eq!(found(missed(&["shared.part", "sharedx.part", "other"]), false), [""; 0]);
        let asked = |names: &[&str]| reads(&[], &[], names);
        let is_installed = ["whether distribution Some.Thing is installed"];
        assert_eq!(found(asked(&["some_thing"]), false), is_installed);
        assert_eq!(found(asked(&["SOME--thing"]), false), is_installed);
        assert_eq!(found(asked(&["other"]), false), [""; 0]);
        assert_eq!(found(asked(&[ALL]), false), ["the list of what is installed"]);
        assert!(asked(&[ALL]).differences_by(&[], |_| true).is_empty());
    }
}
