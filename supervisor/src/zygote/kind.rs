//! Common properties of functions that may share a zygote, and differences between functions.

use std::collections::BTreeSet;

use super::reads::Difference;
use crate::deployment::{Function, Variables, is_read_at_start};
use crate::environment::Tree;
use crate::sandbox::Commons;

/// The common properties of all functions of a realm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kind {
    /// True if their sandboxes have a network namespace of their own.
    pub own_network: bool,
    /// The tenant that they belong to, if any.
    pub tenant: Option<String>,
    /// Variables that their zygotes are started with.
    pub variables: Variables,
    /// Key of the environment that their zygotes see all of, if a part of it makes a difference.
    pub whole: Option<String>,
}

impl Kind {
    /// The view of the system that their zygotes share.
    pub fn commons(&self) -> Commons {
        Commons::of_functions(self.own_network, self.tenant.as_deref())
    }
}

/// Differences of a function from others of its interpreter, network and tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Apart(BTreeSet<Difference>);

impl Apart {
    /// The differences expected of a new function, from those of similar functions, until a zygote shows
    /// more.
    pub fn expected<'a>(others: impl Iterator<Item = &'a Self>) -> Self {
        let all = others.flat_map(|other| &other.0);
        // These variables differ for each function, so each would get zygotes of its own.
        let is_shared = |one: &&Difference| !matches!(one, Difference::Variable(name) if Variables::is_told(name));
        Self(all.filter(is_shared).cloned().collect())
    }

    /// Adds differences that a zygote has shown.
    pub fn add(&mut self, differences: BTreeSet<Difference>) {
        self.0.extend(differences);
    }

    /// The kind of a function with these differences.
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

    /// Each difference of a function, as text for a user.
    pub fn describe(&self, function: &Function) -> Vec<String> {
        let variables = function.variables.all();
        let is_its = |one: &&Difference| match one {
            Difference::Variable(name) => variables.contains_key(name),
            _ => true,
        };
        self.0.iter().filter(is_its).map(ToString::to_string).collect()
    }
}
