//! What functions that may share a zygote have in common, and what tells one apart.

use std::collections::BTreeSet;

use super::reads::Difference;
use crate::deployment::{Function, Variables, is_read_at_start};
use crate::environment::Tree;
use crate::sandbox::Commons;

/// What all functions of a realm have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kind {
    /// Whether their sandboxes have a network namespace of their own.
    pub own_network: bool,
    /// Whose they are.
    pub tenant: Option<String>,
    /// The variables that its zygotes are started with.
    pub variables: Variables,
    /// Key of the environment that its zygotes see all of, where a part makes a difference.
    pub whole: Option<String>,
}

impl Kind {
    /// With whom its zygotes share what they see of the system.
    pub fn commons(&self) -> Commons {
        Commons::of_functions(self.own_network, self.tenant.as_deref())
    }
}

/// What tells a function from others of its interpreter, network and tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Apart(BTreeSet<Difference>);

impl Apart {
    /// What a function is taken to be told apart by like others, until a zygote says more.
    pub fn expected<'a>(others: impl Iterator<Item = &'a Self>) -> Self {
        let all = others.flat_map(|other| &other.0);
        // Each function is told something else by these, so that they would part all from all.
        let is_shared = |one: &&Difference| !matches!(one, Difference::Variable(name) if Variables::is_told(name));
        Self(all.filter(is_shared).cloned().collect())
    }

    /// Adds what a zygote has shown.
    pub fn add(&mut self, differences: BTreeSet<Difference>) {
        self.0.extend(differences);
    }

    /// The kind of a function that is told apart by this.
    pub fn kind(&self, function: &Function, tree: &Tree) -> Kind {
        let variables = &function.variables;
        let read = self.0.iter().filter_map(|one| match one {
            Difference::Variable(name) => Some(name.as_str()),
            _ => None,
        });
        let at_start = variables.names().filter(|name| is_read_at_start(name));
        let is_whole = self.0.iter().any(|one| !matches!(one, Difference::Variable(_)));
        Kind {
            own_network: function.own_network(),
            tenant: function.info.tenant.clone(),
            variables: variables.only(read.chain(at_start)),
            whole: is_whole.then(|| tree.key.clone()),
        }
    }

    /// Each difference that a function makes, for a user.
    pub fn describe(&self, function: &Function) -> Vec<String> {
        let variables = function.variables.all();
        let is_its = |one: &&Difference| match one {
            Difference::Variable(name) => variables.contains_key(name),
            _ => true,
        };
        self.0.iter().filter(is_its).map(ToString::to_string).collect()
    }
}
