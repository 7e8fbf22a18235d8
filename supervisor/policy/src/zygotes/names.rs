//! What the policy speaks of, by compact numbers: planning compares sets of thousands of modules.

use std::collections::HashMap;

use super::set::{Id, Set, ids};

ids! {
    /// What a child can not leave: the interpreter and the network that it was forked in.
    Realm
    /// A distribution, by the digest of its files.
    DistributionId
    /// A module of a distribution, or of the interpreter's own library.
    ModuleId
}

/// Distributions.
pub type Distributions = Set<DistributionId>;
/// Modules.
pub type Modules = Set<ModuleId>;

/// A module, by what brings it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Module {
    /// The distribution that it is a file of; none for the interpreter's own library.
    pub distribution: Option<DistributionId>,
    /// Its full name, such as `scipy.stats`.
    pub name: String,
}

/// Numbers given out to names. They are never taken back, and mean something to this table alone:
/// what outlives it is stored by name.
#[derive(Debug, Default)]
pub struct Names {
    realms: Table<String>,
    distributions: Table<String>,
    modules: Table<Module>,
}

impl Names {
    /// The number of a realm: any text that is equal for whom may fork for each other.
    pub fn realm(&mut self, name: &str) -> Realm {
        self.realms.number(name.to_owned())
    }

    /// The number of a distribution, by its digest.
    pub fn distribution(&mut self, digest: &str) -> DistributionId {
        self.distributions.number(digest.to_owned())
    }

    /// The number of a module.
    pub fn module(&mut self, distribution: Option<DistributionId>, name: &str) -> ModuleId {
        self.modules.number(Module { distribution, name: name.to_owned() })
    }

    /// A distribution's digest.
    pub fn digest(&self, distribution: DistributionId) -> &str {
        &self.distributions.named[distribution.place()]
    }

    /// A module's name and distribution.
    pub fn module_named(&self, module: ModuleId) -> &Module {
        &self.modules.named[module.place()]
    }

    /// How many modules have a number.
    pub fn modules(&self) -> usize {
        self.modules.named.len()
    }

    /// All modules that have one.
    pub fn all_modules(&self) -> impl Iterator<Item = ModuleId> {
        (0..self.modules()).map(ModuleId::at)
    }

    /// The distributions that bring some modules.
    pub fn owners(&self, modules: &Modules) -> Distributions {
        modules.iter().filter_map(|module| self.module_named(module).distribution).collect()
    }
}

#[derive(Debug)]
struct Table<N> {
    numbers: HashMap<N, u32>,
    named: Vec<N>,
}

impl<N> Default for Table<N> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), named: Vec::new() }
    }
}

impl<N: Clone + Eq + std::hash::Hash> Table<N> {
    fn number<I: Id>(&mut self, name: N) -> I {
        let place = self.named.len();
        let next = u32::try_from(place).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(name.clone()).or_insert(next);
        if number == next {
            self.named.push(name);
        }
        I::at(number as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_a_module_is_named_by_its_distribution_too() {
        let mut names = Names::default();
        let (one, two) = (names.distribution("one"), names.distribution("two"));
        assert_eq!(names.distribution("one"), one);
        assert_ne!(one, two);
        let module = names.module(Some(one), "numpy");
        assert_ne!(names.module(Some(two), "numpy"), module);
        assert_eq!(names.module(Some(one), "numpy"), module);
        let json = names.module(None, "json");
        assert_eq!(
            names.owners(&[module, json].into_iter().collect()),
            [one].into_iter().collect()
        );
        assert_eq!(names.module_named(json).name, "json");
    }
}
