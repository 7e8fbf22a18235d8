//! Realms: the functions that may share a zygote, apart from what the policy weighs.

use std::collections::BTreeSet;

use pipsqueak_policy::zygotes::Realm;

use super::kind::Kind;
use super::pool::{Inner, Slot};
use super::reads::Difference;
use crate::deployment::Function;
use crate::environment::Tree;

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

    /// Reads of a zygote's imports whose answer would differ for a function.
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

    /// Moves a function to a realm whose zygotes read the same as the function would.
    pub fn set_apart(
        &mut self,
        function: &Function,
        tree: &Tree,
        differences: BTreeSet<Difference>,
    ) {
        let Some(known) = self.known.get_mut(&function.info.name) else { return };
        known.apart.add(differences);
        let kind = known.apart.kind(function, tree);
        let realm = self.realm(tree, kind);
        self.policy.settle(&function.info.name, realm);
    }

    /// The reason why a zygote of one realm serves no function of another.
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
