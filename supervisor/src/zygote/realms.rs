//! Who may share a zygote, beyond what the policy weighs.

use std::collections::BTreeSet;

use pipsqueak_policy::zygotes::Realm;

use super::learn::Known;
use super::pool::{Inner, Slot};
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
    pub fn expected<'a>(others: impl Iterator<Item = &'a Known>) -> Self {
        let all = others.flat_map(|other| &other.apart.0);
        // Each function is told something else by these, so that they would part all from all.
        let is_shared = |one: &&Difference| !matches!(one, Difference::Variable(name) if Variables::is_told(name));
        Self(all.filter(is_shared).cloned().collect())
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

impl Inner {
    /// The realm of an environment's zygotes of a kind.
    pub fn realm(&mut self, tree: &Tree, kind: Kind) -> Realm {
        let network = if kind.own_network { "own" } else { "host" };
        let alone = tree.view_digest().map_or_else(|| tree.key.as_str(), |_| "");
        let interpreter = tree.interpreter.executable.display();
        let (variables, whole) = (kind.variables.all(), &kind.whole);
        let tenant = &kind.tenant;
        let realm = format!("{interpreter} {network} {alone} {variables:?} {whole:?} {tenant:?}");
        let realm = self.policy.names.realm(&realm);
        self.kinds.insert(realm, kind);
        realm
    }

    /// What a function would have seen otherwise than a zygote has while it imported.
    pub fn differences(
        &self,
        slot: &Slot,
        function: &Function,
        tree: &Tree,
    ) -> BTreeSet<Difference> {
        let Some(zygote) = slot.state.ready() else { return BTreeSet::new() };
        let Some(kind) = self.kinds.get(&slot.seen.realm) else { return BTreeSet::new() };
        let reads = zygote.reads().iter();
        let found = reads.flat_map(|(seen, reads)| {
            reads.differences((&kind.variables, seen), (&function.variables, tree))
        });
        found.collect()
    }

    /// Gives a function zygotes that have seen what it would have.
    pub fn set_apart(
        &mut self,
        function: &Function,
        tree: &Tree,
        differences: BTreeSet<Difference>,
    ) {
        let Some(known) = self.known.get_mut(&function.info.name) else { return };
        known.apart.0.extend(differences);
        let kind = known.apart.kind(function, tree);
        let realm = self.realm(tree, kind);
        self.policy.settle(&function.info.name, realm);
    }

    /// Why a zygote of one realm serves no function of another.
    pub fn describe_elsewhere(&self, zygote: Realm, function: Realm) -> String {
        let kinds = self.kinds.get(&zygote).zip(self.kinds.get(&function));
        let Some((zygote, function)) = kinds else {
            return "is of another interpreter or network".to_owned();
        };
        if zygote.tenant != function.tenant {
            return "is another tenant's".to_owned();
        }
        let names: BTreeSet<_> =
            zygote.variables.names().chain(function.variables.names()).collect();
        let other = |name: &&&str| zygote.variables.value(name) != function.variables.value(name);
        let names: Vec<_> = names.iter().filter(other).copied().collect();
        if !names.is_empty() {
            format!("was started with other variables: {}", names.join(", "))
        } else if zygote.whole != function.whole {
            "has asked what is installed, and seen another environment".to_owned()
        } else {
            "is of another interpreter or network".to_owned()
        }
    }
}
