//! Trees that are made with the whole trace known: the best that we can find, and OpenLambda's.

use std::collections::HashMap;

use pipsqueak_policy::zygotes::{
    Demand, Distributions, Modules, Parameters, Parent, Plan, Situation, Standing, Start, choose,
    plan,
};

use super::drivers::Zygotes;
use super::measured::{Measured, Written};
use super::packages::OPENLAMBDA;
use super::world::{Arrival, World};
use crate::statistics::Random;

/// The number of starts of each function in a trace.
pub fn counts(world: &World, trace: &[Arrival]) -> Vec<f64> {
    let mut counts = vec![0.0; world.clients.len()];
    for arrival in trace {
        counts[arrival.client] += 1.0;
    }
    counts
}

/// Microseconds that so many starts take together.
fn total(world: &World, zygotes: &Zygotes, counts: &[f64]) -> f64 {
    let each = world.clients.iter().zip(counts).enumerate().filter(|(_, (_, count))| **count > 0.0);
    each.map(|(place, (client, count))| {
        let zygote = choose(zygotes.ready(f64::MAX), &client.function, &world.costs);
        count * world.start(place, zygote)
    })
    .sum()
}

/// The best tree that we can find for so many starts within a budget. Greedy steps and exchanges
/// make a first one; then random parts are torn down and made anew, and a better outcome is kept.
/// Making it costs nothing, and it is there from the beginning.
pub fn best(
    world: &World,
    counts: &[f64],
    budget: f64,
    rounds: usize,
    random: &mut Random,
) -> Zygotes {
    let policy = world.policy();
    let parameters = Parameters { horizon: 1e15, idle: 0.0, margin: 1e-6, ..world.parameters };
    let demand: Vec<Demand<'_>> = world
        .clients
        .iter()
        .zip(counts)
        .map(|(client, &rate)| Demand { function: &client.function, rate })
        .collect();
    let settle = |zygotes: &mut Zygotes| {
        for _ in 0..20 {
            let made = plan(&Situation {
                names: &policy.names,
                costs: &world.costs,
                demand: &demand,
                standing: &zygotes.standing,
                barred: &[],
                unsafe_modules: &Modules::new(),
                budget,
                parameters: &parameters,
            });
            if made.is_empty() {
                return;
            }
            zygotes.carry_out(world, &made, 0.0);
        }
    };
    let mut best = Zygotes::default();
    settle(&mut best);
    let mut least = total(world, &best, counts);
    for _ in 0..rounds {
        let mut trial = best.clone();
        tear(world, &mut trial, random);
        settle(&mut trial);
        let us = total(world, &trial, counts);
        if us < least && trial.bytes() <= budget {
            (best, least) = (trial, us);
        }
    }
    best
}

/// Takes a few zygotes, and those below them, out of a tree.
fn tear(world: &World, zygotes: &mut Zygotes, random: &mut Random) {
    let share = 0.02 + 0.3 * random.unit();
    let mut gone: Vec<_> = zygotes
        .standing
        .iter()
        .filter(|one| one.parent.is_some() && random.unit() < share)
        .map(|one| one.id)
        .collect();
    loop {
        let below = |one: &&Standing| {
            one.parent.is_some_and(|parent| gone.contains(&parent)) && !gone.contains(&one.id)
        };
        let more: Vec<_> = zygotes.standing.iter().filter(below).map(|one| one.id).collect();
        if more.is_empty() {
            break;
        }
        gone.extend(more);
    }
    zygotes.carry_out(world, &Plan { retire: gone, start: Vec::new() }, 0.0);
}

/// Imports of each package of OpenLambda's tree, to measure them.
pub fn openlambda_imports() -> Vec<Written> {
    let packages = OPENLAMBDA.iter().map(|(_, package)| *package);
    packages
        .map(|package| Written {
            requires: vec![package.to_owned()],
            imports: vec![top(package).to_owned()],
        })
        .collect()
}

/// The name that a package of OpenLambda's tree is imported by.
fn top(package: &str) -> &str {
    match package {
        "python-dateutil" => "dateutil",
        other => other,
    }
}

/// OpenLambda's default tree, in its order, as far as the budget allows. Packages that no function
/// has get no zygote. A zygote has only the packages that the tree names, without their
/// requirements, and serves functions all the same.
pub fn openlambda(world: &World, measured: &HashMap<Written, Measured>, budget: f64) -> Zygotes {
    let mut policy = world.policy();
    let known = world.clients.iter().map(|client| &client.function.environment.distributions);
    let mut all = Distributions::new();
    known.for_each(|distributions| all.extend_from(distributions));
    let root = Start {
        realm: world.realm(),
        parent: Parent::Nobody,
        distributions: Distributions::new(),
        imports: Modules::new(),
        modules: Modules::new(),
        us: 0.0,
        bytes: 0.0,
        saves: 0.0,
    };
    let mut plan = Plan { retire: Vec::new(), start: vec![root] };
    let mut bytes = world.bytes(&Modules::new(), true);
    // The place in the plan of each of the tree's zygotes that is in it.
    let mut places: Vec<Option<usize>> = Vec::new();
    for ((above, package), written) in OPENLAMBDA.iter().zip(openlambda_imports()) {
        places.push(None);
        let distribution = policy.names.distribution(package);
        let parent = usize::try_from(*above).map_or(Some(0), |above| places[above]);
        let Some(parent) = parent.filter(|_| all.contains(distribution)) else { continue };
        let mut modules = Modules::new();
        for (name, owner, _, _) in &measured[&written].modules {
            let owner = owner.as_ref().map(|owner| policy.names.distribution(owner));
            modules.insert(policy.names.module(owner, name));
        }
        let inherited = &plan.start[parent];
        let imports = modules.difference(&inherited.modules);
        modules.extend_from(&inherited.modules);
        let mut distributions = inherited.distributions.clone();
        distributions.insert(distribution);
        let own = world.bytes(&imports, false);
        if bytes + own > budget {
            continue;
        }
        bytes += own;
        if let Some(last) = places.last_mut() {
            *last = Some(plan.start.len());
        }
        let parent = Parent::Planned(parent);
        let start = Start { parent, distributions, imports, modules, ..plan.start[0].clone() };
        plan.start.push(start);
    }
    let mut zygotes = Zygotes::default();
    zygotes.carry_out(world, &plan, 0.0);
    zygotes
}
