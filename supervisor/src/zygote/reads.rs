//! What a zygote's imports have asked of their surroundings, and whether a function's answer is the same.
//!
//! What an import has made is a function of what it has read. A zygote serves only those for whom it would
//! have read the same.

use std::collections::BTreeSet;
use std::fmt;

use pipsqueak_fs::Distribution;
use serde::Deserialize;

use crate::environment::Tree;
use crate::function::Variables;

/// Stands for all names.
const ALL: &str = "*";
/// Stands for the names of variables that say how the network is reached.
const PROXIES: &str = "*_proxy";
/// Told to each process anew, and the same for no two.
const OF_EACH: &str = "AWS_LAMBDA_LOG_STREAM_NAME";

/// The names of what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Reads {
    /// Variables that were read or set.
    pub variables: BTreeSet<String>,
    /// Modules that were looked for and not found.
    pub modules: BTreeSet<String>,
    /// Distributions that were looked for and not found.
    pub distributions: BTreeSet<String>,
}

/// Something of which a function has another answer than a zygote had.
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
    /// What of it has another answer for a function than for a zygote: each is given by its variables, and
    /// the environment that it sees.
    pub fn differences(
        &self,
        zygote: (&Variables, &Tree),
        function: (&Variables, &Tree),
    ) -> BTreeSet<Difference> {
        let mut found = BTreeSet::new();
        for name in function.0.names().chain(zygote.0.names()) {
            if zygote.0.value(name) != function.0.value(name) && self.has_read(name) {
                found.insert(Difference::Variable(name.to_owned()));
            }
        }
        if self.variables.contains(OF_EACH) {
            found.insert(Difference::Variable(OF_EACH.to_owned()));
        }
        if zygote.1.key != function.1.key {
            let more = function.1.distributions.iter();
            let more = more.filter(|(digest, _)| !zygote.1.distributions.contains_key(*digest));
            let more: Vec<_> = more.map(|(_, distribution)| distribution).collect();
            let can_import = |module: &str| {
                // Of what can be imported no more is known at first than the top-level names.
                function.1.known_imports().is_none_or(|known| known.owner(module).is_some())
            };
            found.extend(self.differences_by(&more, can_import));
        }
        found
    }

    /// The same for an environment that has some distributions `more`.
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
            // Whoever goes through all of them makes nothing of those that tell a function about itself.
            || self.variables.contains(ALL) && !Variables::is_told(name)
            || self.variables.contains(PROXIES) && is_proxy()
    }
}

/// The name of a project as PEP 503 has it.
fn normalized(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}
