//! The policy against brute force, and the rules that its plans keep.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// The test's form of a function: its distributions and modules, and its starts a second.
#[derive(Debug, Clone)]
struct Made {
    realm: usize,
    distributions: Vec<usize>,
    modules: Vec<usize>,
    rate: f64,
}

/// Distributions have four modules each; the last is seldom imported.
const MODULES: usize = 4;
const MIB: f64 = 1_048_576.0;

fn made() -> impl Strategy<Value = Made> {
    let distributions = prop::collection::vec(0usize..6, 0..5);
    (0usize..2, distributions, prop::collection::vec(any::<bool>(), 24), 0.001..2.0f64).prop_map(
        |(realm, distributions, used, rate)| {
            let all =
                distributions.iter().flat_map(|one| (0..MODULES).map(move |m| one * MODULES + m));
            let modules = all.filter(|module| module % MODULES < 3 || used[*module]).collect();
            Made { realm, distributions, modules, rate }
        },
    )
}

/// A policy that knows some functions, named by their place, each with its rate.
fn policy(functions: &[Made]) -> Policy {
    let mut policy = Policy::new(Parameters::default());
    let distributions: Vec<_> =
        (0..6).map(|one| policy.names.distribution(&format!("digest-{one}"))).collect();
    let modules: Vec<_> = (0..6 * MODULES)
        .map(|place| {
            let owner = distributions[place / MODULES];
            let module = policy.names.module(Some(owner), &format!("m{place}"));
            let weight = f64::from(u32::try_from(place).unwrap() + 1);
            policy.costs.observe(module, Cost { us: 7_000.0 * weight, bytes: weight * MIB / 4.0 });
            module
        })
        .collect();
    for (place, one) in functions.iter().enumerate() {
        let realm = policy.names.realm(&format!("realm-{}", one.realm));
        let environment = Environment {
            distributions: one.distributions.iter().map(|&one| distributions[one]).collect(),
            requires: HashMap::new(),
        };
        let imports = one.modules.iter().map(|&module| modules[module]).collect();
        let name = place.to_string();
        policy.deploy(&name, realm, Arc::new(environment), &imports);
        let rate = Rate::of(one.rate, 0.0, policy.parameters.half_life);
        policy.functions.get_mut(&name).unwrap().rate = rate;
    }
    policy
}

/// Carries a plan out.
fn carry_out(standing: &mut Vec<Standing>, plan: &Plan) {
    for id in &plan.retire {
        assert!(standing.iter().all(|one| one.parent != Some(*id)), "a parent before its child");
        standing.retain(|one| one.id != *id);
    }
    let first = standing.iter().map(|one| one.id.0).max().unwrap_or(0) + 1;
    let number = |place: usize| ZygoteId(first + place as u64);
    for (place, start) in plan.start.iter().enumerate() {
        let parent = match start.parent {
            Parent::Nobody => None,
            Parent::Standing(id) => Some(id),
            Parent::Planned(above) => {
                assert!(above < place, "a child before its parent");
                Some(number(above))
            }
        };
        let above = parent.map(|id| standing.iter().find(|one| one.id == id).expect("a parent"));
        let mut inherited = above.map(|one| one.modules.clone()).unwrap_or_default();
        assert!(above.is_none_or(|one| one.realm == start.realm));
        assert!(above.is_none_or(|one| one.distributions.is_subset(&start.distributions)));
        assert!(inherited.intersection(&start.imports).is_empty());
        inherited.extend_from(&start.imports);
        assert_eq!(inherited, start.modules);
        standing.push(Standing {
            id: number(place),
            parent,
            realm: start.realm,
            distributions: start.distributions.clone(),
            modules: start.modules.clone(),
            bytes: start.bytes,
            is_given: false,
        });
    }
}

fn bytes(standing: &[Standing]) -> f64 {
    standing.iter().map(|one| one.bytes).sum()
}

/// The standing zygotes, as ones that could fork.
fn zygotes(standing: &[Standing], policy: &Policy) -> Vec<Zygote> {
    let parameters = policy.parameters();
    let fork = |one: &Standing| {
        let mib = (policy.costs.sum(&one.modules).bytes + parameters.interpreter_bytes) / MIB;
        parameters.fork_us + parameters.fork_us_per_mib * mib
    };
    standing
        .iter()
        .map(|one| Zygote {
            id: one.id,
            realm: one.realm,
            distributions: one.distributions.clone(),
            modules: one.modules.clone(),
            fork_us: fork(one),
        })
        .collect()
}

/// Microseconds that functions wait a second.
fn waiting(policy: &Policy, standing: &[Standing]) -> f64 {
    let zygotes = zygotes(standing, policy);
    let half_life = policy.parameters.half_life;
    let each = policy.functions.iter().map(|(name, known)| {
        let us = match policy
            .choose(&zygotes, name)
            .map(|zygote| zygote.fitness(&known.function, &policy.costs))
        {
            Some(Fitness::Fit { us, .. }) => us,
            _ => policy.parameters.interpreter_us + policy.costs.sum(&known.function.modules).us,
        };
        us * known.rate.per_second(0.0, half_life)
    });
    each.sum()
}

#[test]
fn what_no_zygote_can_import_holds_back_only_what_needs_it_where_functions_can() {
    let one = Made { realm: 0, distributions: vec![4], modules: vec![16, 17, 18], rate: 1.0 };
    let mut policy = policy(&[one]);
    let all = policy.function("0").unwrap().modules.clone();
    let modules: Vec<ModuleId> = all.iter().collect();
    policy.needs(modules[1], modules[0]);
    let failing: Modules = [modules[0]].into_iter().collect();
    let planned =
        |policy: &Policy| policy.plan(&[], 1000.0 * MIB, 0.0).start.last().unwrap().modules.clone();
    // `failing` was a guess: modules that need it may still be imported.
    policy.fails(&failing);
    assert_eq!(planned(&policy), all.difference(&failing));
    let told: Vec<_> = all.iter().map(|module| Imported { module, cost: None }).collect();
    assert!(policy.learn("0", &told));
    assert_eq!(planned(&policy), [modules[2]].into_iter().collect());
    assert!(!policy.learn("0", &told));
    policy.fails(&[modules[2]].into_iter().collect());
    assert_eq!(policy.barred(), all);
    assert_eq!(policy.function("0").unwrap().modules, all);
}

#[test]
fn what_does_not_survive_a_fork_is_in_no_zygote_nor_what_needs_it() {
    let one = Made { realm: 0, distributions: vec![4], modules: vec![16, 17, 18], rate: 1.0 };
    let mut policy = policy(&[one]);
    let planned_at = |policy: &Policy, now: f64| {
        let plan = policy.plan(&[], 1000.0 * MIB, now);
        let modules = plan.start.iter().flat_map(|start| start.modules.iter().collect::<Vec<_>>());
        modules.collect::<Modules>()
    };
    let planned = |policy: &Policy| planned_at(policy, 0.0);
    let all = policy.function("0").unwrap().modules.clone();
    assert_eq!(planned(&policy), all);
    let modules: Vec<ModuleId> = all.iter().collect();
    policy.needs(modules[1], modules[0]);
    policy.hazard(modules[0], true);
    assert_eq!(planned(&policy), [modules[2]].into_iter().collect());
    policy.hazard(modules[0], false);
    assert_eq!(planned(&policy), all);
    let plan = policy.plan(&[], 1000.0 * MIB, 0.0);
    let start = plan.start.last().unwrap();
    let is_planned = |policy: &Policy, now: f64| {
        policy.plan(&[], 1000.0 * MIB, now).start.iter().any(|start| start.modules == all)
    };
    let mut now = 0.0;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let pause = policy.failed(start.realm, &all, now);
        assert!(planned_at(&policy, now).len() < all.len());
        assert!(!is_planned(&policy, now + 0.9 * pause));
        now += pause;
        assert!(is_planned(&policy, now));
        pauses.push(pause);
    }
    assert_eq!(pauses[..3], [1.0, 2.0, 4.0]);
    assert_eq!(pauses.last(), Some(&policy.parameters.half_life));
    // A zygote that is good only for a moment does not shorten its pause.
    let longest = policy.parameters.half_life;
    policy.succeeded(start.realm, &all, now);
    assert!(is_planned(&policy, now));
    assert!(policy.failed(start.realm, &all, now + 1.0) >= longest);
    now += 1.0 + longest;
    policy.succeeded(start.realm, &all, now);
    assert!(policy.failed(start.realm, &all, now + longest + 1.0) < 2.0);
}

#[test]
fn what_was_given_goes_last() {
    let one = |distribution: usize, rate| Made {
        realm: 0,
        distributions: vec![distribution],
        modules: vec![distribution * MODULES],
        rate,
    };
    let policy = policy(&[one(4, 1.0), one(5, 0.0)]);
    let mut standing = Vec::new();
    let plan = policy.plan(&standing, 100.0 * MIB, 0.0);
    carry_out(&mut standing, &plan);
    let unused = policy.function("1").unwrap();
    standing.push(Standing {
        id: ZygoteId(99),
        parent: Some(standing[0].id),
        realm: unused.realm,
        distributions: unused.environment.distributions.clone(),
        modules: unused.modules.clone(),
        bytes: 9.0 * MIB,
        is_given: true,
    });
    assert_eq!(standing.len(), 3);
    assert!(policy.plan(&standing, 100.0 * MIB, 0.0).is_empty());
    let all = bytes(&standing);
    assert_eq!(policy.shrink(&standing, all - 1.0, 0.0), [standing[1].id]);
    let more = policy.shrink(&standing, all - standing[1].bytes - 1.0, 0.0);
    assert_eq!(more, [standing[1].id, ZygoteId(99)]);
    standing[2].is_given = false;
    assert_eq!(policy.plan(&standing, 100.0 * MIB, 0.0).retire, [ZygoteId(99)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_choice_is_that_of_brute_force(
        others in prop::collection::vec(made(), 0..12),
        one in made(),
    ) {
        let mut all = others.clone();
        all.push(one.clone());
        let policy = policy(&all);
        let zygotes: Vec<Zygote> = others.iter().enumerate().map(|(place, other)| {
            let function = policy.function(&place.to_string()).unwrap();
            Zygote {
                id: ZygoteId(place as u64),
                realm: function.realm,
                distributions: function.environment.distributions.clone(),
                modules: function.modules.clone(),
                fork_us: 100.0 * f64::from(u32::try_from(other.modules.len()).unwrap()),
            }
        }).collect();
        // Count with lists and loops, without any of the policy's sets.
        let mut best: Option<(f64, u64)> = None;
        for (place, other) in others.iter().enumerate() {
            let fits = other.realm == one.realm
                && other.distributions.iter().all(|d| one.distributions.contains(d));
            let mut left: Vec<usize> =
                one.modules.iter().copied().filter(|m| !other.modules.contains(m)).collect();
            left.sort_unstable();
            left.dedup();
            let left: f64 = left.iter().map(|&m| 7_000.0 * f64::from(u32::try_from(m).unwrap() + 1)).sum();
            let us = left + 100.0 * f64::from(u32::try_from(other.modules.len()).unwrap());
            if fits && best.is_none_or(|(least, _)| us < least) {
                best = Some((us, place as u64));
            }
        }
        let name = others.len().to_string();
        let chosen = policy.choose(&zygotes, &name);
        prop_assert_eq!(chosen.map(|zygote| zygote.id.0), best.map(|(_, place)| place));

        let verdicts = policy.explain(&zygotes, &name);
        prop_assert_eq!(verdicts.len(), zygotes.len());
        for (id, verdict) in verdicts {
            let other = &others[usize::try_from(id.0).unwrap()];
            let foreign = other.distributions.iter().any(|d| !one.distributions.contains(d));
            match verdict {
                Verdict::Serves { .. } => prop_assert_eq!(Some(id.0), best.map(|(_, place)| place)),
                Verdict::Slower { by_us, .. } => prop_assert!(by_us >= 0.0 && !foreign),
                Verdict::Elsewhere => prop_assert!(other.realm != one.realm),
                Verdict::Foreign(_) => prop_assert!(foreign),
            }
        }
    }

    #[test]
    fn plans_keep_to_the_budget_and_to_themselves(
        functions in prop::collection::vec(made(), 0..20),
        mib in 1.0..400.0f64,
    ) {
        let policy = policy(&functions);
        let mut standing = Vec::new();
        let before = waiting(&policy, &standing);
        for _ in 0..4 {
            let plan = policy.plan(&standing, mib * MIB, 0.0);
            let was = waiting(&policy, &standing);
            carry_out(&mut standing, &plan);
            prop_assert!(bytes(&standing) <= mib * MIB + 1.0);
            prop_assert!(waiting(&policy, &standing) <= was + 1e-6);
        }
        prop_assert!(policy.plan(&standing, mib * MIB, 0.0).is_empty(), "it comes to rest");
        if mib > 20.0 && !functions.is_empty() {
            prop_assert!(waiting(&policy, &standing) < before);
        }
        let deepest = standing.iter().map(|one| {
            let parent = |one: &&Standing| standing.iter().find(|other| Some(other.id) == one.parent);
            std::iter::successors(Some(one), parent).count()
        });
        prop_assert!(deepest.max().unwrap_or(0) <= policy.parameters.depth);

        // Shrink under pressure, and plan after a long time without demand.
        let gone = policy.shrink(&standing, mib * MIB / 2.0, 0.0);
        carry_out(&mut standing, &Plan { retire: gone, start: Vec::new() });
        prop_assert!(bytes(&standing) <= mib * MIB / 2.0);
        let plan = policy.plan(&standing, mib * MIB, 1e6);
        prop_assert!(plan.start.is_empty());
        carry_out(&mut standing, &plan);
        prop_assert!(standing.is_empty());
    }
}
