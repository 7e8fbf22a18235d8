//! Compact numbers for the names that the policy uses: planning compares sets of thousands of modules.

use std::collections::HashMap;

use super::set::{Id, Set, ids};

ids! {
    /// The functions that may share a zygote: of one interpreter, network, tenant and start-up
    /// variables.
    Realm
    /// A distribution, by the digest of its files.
    DistributionId
    /// A module of a distribution, or of the interpreter's own library.
    ModuleId
}

/// A set of distributions.
pub type Distributions = Set<DistributionId>;
/// A set of modules.
pub type Modules = Set<ModuleId>;

/// A module, by its distribution and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Module {
    /// The distribution that has the module's file; none for the interpreter's own library.
    pub distribution: Option<DistributionId>,
    /// Full name, such as `scipy.stats`.
    pub name: String,
}

/// Numbers assigned to names. They are never reused, and mean something to this table alone: stored
/// data has names instead.
#[derive(Debug, Default)]
pub struct Names {
    realms: Table<String>,
    distributions: Table<String>,
    modules: Table<Module>,
}

impl Names {
    /// The number of a realm, by any text that is equal for all functions of the realm.
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

    /// The digest of a distribution.
    pub fn digest(&self, distribution: DistributionId) -> &str {
        &self.distributions.named[distribution.place()]
    }

    /// The name and distribution of a module.
    pub fn module_named(&self, module: ModuleId) -> &Module {
        &self.modules.named[module.place()]
    }

    /// Count of modules that have a number.
    pub fn modules(&self) -> usize {
        self.modules.named.len()
    }

    /// All modules that have a number.
    pub fn all_modules(&self) -> impl Iterator<Item = ModuleId> {
        (0..self.modules()).map(ModuleId::at)
    }

    /// The distributions that have some modules.
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
