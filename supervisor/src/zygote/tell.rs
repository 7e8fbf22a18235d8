//! Explanations for users: why a function starts as it does, and the tree of zygotes.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipsqueak::wire::{Explanation, Imports, UnsafeModule, Verdict};
use pipsqueak_policy::zygotes::{self, DistributionId, Function as Needs, ModuleId, given};

use super::imports::shortened;
use super::pool::{Inner, Pool, State};
use crate::deployment::Function;
use crate::environment::Tree;

impl Pool {
    /// The zygote that serves a function in an environment, the reasons against the others, and the saving.
    pub fn explain(&self, function: &Function, tree: &Arc<Tree>) -> Explanation {
        let now = self.now();
        let name = &function.info.name;
        let inner = &mut *self.lock();
        inner.introduce(function, tree, now);
        if inner.choose(function, tree).1 {
            self.news.wake();
        }
        let ready = inner.slots.values().filter(|slot| slot.state.ready().is_some());
        let zygotes: Vec<_> = ready.map(|slot| slot.seen.clone()).collect();
        let inner = &*inner;
        let verdicts = inner.policy.explain(&zygotes, name);
        let needs = inner.policy.function(name);
        let unsafe_modules = inner.left_out(tree).into_iter();
        Explanation {
            function: name.clone(),
            learned: inner.policy.has_learned(name),
            unlike: None,
            standbys: 0,
            apart: inner
                .known
                .get(name)
                .map_or_else(Vec::new, |known| known.apart.describe(function)),
            starts_per_minute: inner.policy.rate(name, now) * 60.0,
            imports: needs.map_or_else(Vec::new, |needs| inner.imports(needs)),
            zygotes: verdicts
                .iter()
                .map(|(id, one)| inner.verdict(*id, one, needs))
                .chain(inner.failed(needs))
                .collect(),
            unsafe_modules: unsafe_modules
                .map(|(module, reason)| UnsafeModule { module, reason })
                .collect(),
        }
    }

    /// The zygotes that there are, as JSON that a user can give back.
    pub fn export(&self) -> String {
        let inner = self.lock();
        let (standing, policy) = (inner.standing(), &inner.policy);
        let describe = |distribution| inner.describe(distribution);
        given::write(&given::export(&standing, &policy.names, &policy.costs, describe))
    }
}

impl Inner {
    /// A distribution as `name==version`.
    pub fn describe(&self, distribution: DistributionId) -> String {
        let digest = self.policy.names.digest(distribution);
        let trees = self.known.values().map(|known| &known.tree).chain(&self.sources);
        let mut found = trees.filter_map(|tree| tree.distributions.get(digest));
        found.next().map_or_else(
            || digest.chars().take(12).collect(),
            |one| format!("{}=={}", one.name, one.version),
        )
    }

    fn imports(&self, needs: &Needs) -> Vec<Imports> {
        let mut by_distribution: BTreeMap<String, (u64, f64, f64)> = BTreeMap::new();
        for module in needs.modules.iter() {
            let owner = self.policy.names.module_named(module).distribution;
            let owner = owner.map_or_else(String::new, |owner| self.describe(owner));
            let cost = self.policy.costs.of(module);
            let (modules, us, bytes) = by_distribution.entry(owner).or_default();
            *modules += 1;
            *us += cost.us;
            *bytes += cost.bytes;
        }
        let mut imports: Vec<_> = by_distribution
            .into_iter()
            .map(|(distribution, (modules, us, bytes))| Imports {
                distribution,
                modules,
                us: whole(us),
                bytes: whole(bytes),
            })
            .collect();
        imports.sort_by_key(|one| std::cmp::Reverse(one.us));
        imports
    }

    fn verdict(
        &self,
        id: zygotes::ZygoteId,
        verdict: &zygotes::Verdict,
        needs: Option<&Needs>,
    ) -> Verdict {
        let all_us = needs.map_or(0.0, |needs| self.policy.costs.sum(&needs.modules).us);
        let fresh_us = self.policy.parameters().interpreter_us + all_us;
        let least = self.slots.get(&id.0).zip(needs).and_then(|(slot, needs)| {
            match slot.seen.fitness(needs, &self.policy.costs) {
                zygotes::Fitness::Fit { us, .. } => Some(us),
                _ => None,
            }
        });
        let reason = match verdict {
            zygotes::Verdict::Serves { left, .. } if left.is_empty() => {
                "has imported all that it needs".to_owned()
            }
            zygotes::Verdict::Serves { left, .. } => {
                format!("leaves {} to import", self.modules_named(left))
            }
            zygotes::Verdict::Slower { by_us, lacks } if lacks.is_empty() => {
                format!("is as good and {:.1} ms slower to fork", by_us / 1000.0)
            }
            zygotes::Verdict::Slower { by_us, lacks } => {
                let lacking = self.modules_named(lacks);
                format!("has not imported {lacking}: {:.1} ms slower", by_us / 1000.0)
            }
            zygotes::Verdict::Elsewhere => {
                let realm = self.slots.get(&id.0).map(|slot| slot.seen.realm);
                let realms = realm.zip(needs.map(|needs| needs.realm));
                realms.map_or_else(String::new, |(its, own)| self.describe_elsewhere(its, own))
            }
            zygotes::Verdict::Foreign(foreign) => {
                let named = shortened(foreign.iter().map(|&one| self.describe(one)));
                format!("sees {named}, which its environment lacks")
            }
        };
        Verdict {
            zygote: id.0,
            serves: matches!(verdict, zygotes::Verdict::Serves { .. }),
            reason,
            left_us: least.map(whole),
            saves_us: least.map(|us| whole((fresh_us - us).max(0.0))),
        }
    }

    /// Verdicts on failed zygotes that would otherwise serve a function.
    fn failed(&self, needs: Option<&Needs>) -> impl Iterator<Item = Verdict> {
        self.slots.values().filter_map(move |slot| {
            let State::Failed(why) = &slot.state else { return None };
            let fitness = slot.seen.fitness(needs?, &self.policy.costs);
            matches!(fitness, zygotes::Fitness::Fit { .. }).then(|| Verdict {
                zygote: slot.id,
                serves: false,
                reason: format!("has failed: {why}"),
                left_us: None,
                saves_us: None,
            })
        })
    }

    fn modules_named(&self, modules: &[ModuleId]) -> String {
        shortened(modules.iter().map(|&module| &self.policy.names.module_named(module).name))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded")]
fn whole(number: f64) -> u64 {
    number.max(0.0).round() as u64
}
