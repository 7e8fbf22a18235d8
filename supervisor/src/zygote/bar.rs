//! Modules that no zygote imports, with reasons: a module has left state that no fork can have, or its
//! import has failed in a zygote.

use pipsqueak_policy::zygotes::{ModuleId, Modules};

use super::grow::Growth;
use super::imports::Unsafe;
use super::pool::Inner;
use crate::environment::Tree;
use crate::protocol::Failed;

impl Inner {
    /// Bars modules that have left a hazard in a zygote from all later zygotes.
    pub fn bar(&mut self, growth: &Growth, found: Unsafe) {
        for (name, why) in found {
            let Some(&module) = growth.wanted.get(&name) else { continue };
            self.policy.hazard(module, true);
            self.need_package(growth, &name, module);
            if let Some(digest) = self.digest_of(module) {
                self.unsafe_modules.entry(digest).or_default().insert(name, why);
            }
        }
    }

    /// Bars a module whose import has failed in a zygote from the zygotes of this run, with the modules
    /// inside it. If functions can import it, modules that import it are barred too.
    pub fn note_failed(&mut self, growth: &Growth, failed: &Failed) {
        let Some(&module) = growth.wanted.get(&failed.module) else { return };
        let mut modules = self.need_package(growth, &failed.module, module);
        modules.insert(module);
        let importers = failed.importers.iter().filter_map(|name| growth.wanted.get(name));
        for &importer in importers.filter(|&&importer| importer != module) {
            self.policy.needs(importer, module);
        }
        self.policy.fails(&modules);
        if let Some(digest) = self.digest_of(module) {
            let of_distribution = self.failed_modules.entry(digest).or_default();
            of_distribution.insert(failed.module.clone(), failed.reason.clone());
        }
    }

    /// Notes that the modules inside a package need the package, and returns them.
    fn need_package(&mut self, growth: &Growth, package: &str, module: ModuleId) -> Modules {
        let below = format!("{package}.");
        let inside = growth.wanted.iter().filter(|(name, _)| name.starts_with(&below));
        let inside: Modules = inside.map(|(_, &module)| module).collect();
        for one in inside.iter() {
            self.policy.needs(one, module);
        }
        inside
    }

    /// Digest of the distribution that has a module.
    fn digest_of(&self, module: ModuleId) -> Option<String> {
        let owner = self.policy.names.module_named(module).distribution?;
        Some(self.policy.names.digest(owner).to_owned())
    }

    /// Modules of an environment that no zygote may import, with reasons.
    pub fn left_out(&self, tree: &Tree) -> Unsafe {
        let all = [&self.failed_modules, &self.unsafe_modules];
        let found =
            all.iter().flat_map(|all| tree.distributions.keys().filter_map(|one| all.get(one)));
        found.flatten().map(|(name, why)| (name.clone(), why.clone())).collect()
    }
}
