//! Drivers, which decide which zygotes there are: our policy as it learns, or a fixed tree.

use pipsqueak_policy::zygotes::{
    Imported, Modules, Parent, Plan, Policy, Standing, Zygote, ZygoteId, choose,
};

use super::world::{Arrival, World};

/// Standing zygotes, and the time from which each can fork.
#[derive(Debug, Clone, Default)]
pub struct Zygotes {
    /// The zygotes as the policy sees them.
    pub standing: Vec<Standing>,
    forking: Vec<(Zygote, f64)>,
    last: u64,
}

impl Zygotes {
    /// Carries a plan out. A zygote can fork once its parent can and its imports are done.
    pub fn carry_out(&mut self, world: &World, plan: &Plan, now: f64) {
        self.standing.retain(|one| !plan.retire.contains(&one.id));
        self.forking.retain(|(one, _)| !plan.retire.contains(&one.id));
        let first = self.last + 1;
        for start in &plan.start {
            self.last += 1;
            let id = ZygoteId(self.last);
            let parent = match start.parent {
                Parent::Nobody => None,
                Parent::Standing(id) => Some(id),
                Parent::Planned(place) => Some(ZygoteId(first + place as u64)),
            };
            let above = self.forking.iter().find(|(one, _)| Some(one.id) == parent);
            let from = above.map_or(now, |(_, ready)| ready.max(now));
            let interpreter = if parent.is_none() { world.parameters.interpreter_us } else { 0.0 };
            let us = interpreter + world.costs.sum(&start.imports).us;
            self.standing.push(Standing {
                id,
                parent,
                realm: start.realm,
                distributions: start.distributions.clone(),
                modules: start.modules.clone(),
                bytes: world.bytes(&start.imports, parent.is_none()),
                is_given: false,
            });
            let zygote = Zygote {
                id,
                realm: start.realm,
                distributions: start.distributions.clone(),
                modules: start.modules.clone(),
                fork_us: world.fork(&start.modules),
            };
            self.forking.push((zygote, from + us / 1e6));
        }
    }

    /// The zygotes that can fork.
    pub fn ready(&self, now: f64) -> impl Iterator<Item = &Zygote> {
        self.forking.iter().filter(move |(_, ready)| *ready <= now).map(|(zygote, _)| zygote)
    }

    /// Memory of all, in bytes.
    pub fn bytes(&self) -> f64 {
        self.standing.iter().map(|one| one.bytes).sum()
    }
}

/// The result of a driver's run.
#[derive(Debug, Default)]
pub struct Run {
    /// Microseconds of each start.
    pub starts: Vec<f64>,
    /// The most memory that zygotes had, in bytes.
    pub peak: f64,
    /// Zygotes that were started.
    pub started: usize,
    /// Processor time of their starts, in seconds.
    pub work: f64,
    /// Longest time of one plan, in milliseconds.
    pub planning: Vec<f64>,
}

/// Starts from fixed zygotes, each function from its best one.
pub fn fixed(world: &World, zygotes: &Zygotes, trace: &[Arrival]) -> Run {
    let best: Vec<f64> = world
        .clients
        .iter()
        .enumerate()
        .map(|(place, client)| {
            let zygote = choose(zygotes.ready(f64::MAX), &client.function, &world.costs);
            world.start(place, zygote)
        })
        .collect();
    Run {
        starts: trace.iter().map(|arrival| best[arrival.client]).collect(),
        peak: zygotes.bytes(),
        ..Run::default()
    }
}

/// Starts from the zygotes of our policy, which knows nothing at first and makes a plan every
/// `every` seconds.
pub fn learned(world: &World, trace: &[Arrival], budget: f64, every: f64) -> Run {
    let mut policy = world.policy();
    for (place, client) in world.clients.iter().enumerate() {
        let function = &client.function;
        let environment = function.environment.clone();
        policy.deploy(&place.to_string(), function.realm, environment, &client.guess);
    }
    let mut zygotes = Zygotes::default();
    let mut run = Run::default();
    let mut next = 0.0;
    for arrival in trace {
        if arrival.at >= next {
            replan(world, &mut policy, &mut zygotes, (budget, arrival.at), &mut run);
            next = arrival.at + every;
        }
        let name = arrival.client.to_string();
        let zygote = policy.choose(zygotes.ready(arrival.at), &name);
        run.starts.push(world.start(arrival.client, zygote));
        let had = zygote.map_or_else(Modules::new, |zygote| zygote.modules.clone());
        let modules = world.clients[arrival.client].modules.iter();
        let imported: Vec<Imported> = modules
            .map(|&(module, cost)| Imported {
                module,
                cost: (!had.contains(module)).then_some(cost),
            })
            .collect();
        policy.started(&name, arrival.at);
        policy.learn(&name, &imported);
    }
    run
}

fn replan(
    world: &World,
    policy: &mut Policy,
    zygotes: &mut Zygotes,
    (budget, now): (f64, f64),
    run: &mut Run,
) {
    let began = std::time::Instant::now();
    let plan = policy.plan(&zygotes.standing, budget, now);
    run.planning.push(began.elapsed().as_secs_f64() * 1e3);
    zygotes.carry_out(world, &plan, now);
    run.peak = run.peak.max(zygotes.bytes());
    run.started += plan.start.len();
    let us: f64 = plan.start.iter().map(|start| world.costs.sum(&start.imports).us).sum();
    run.work += us / 1e6;
}
