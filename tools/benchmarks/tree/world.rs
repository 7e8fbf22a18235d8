//! The functions of a trace by number, their modules with costs, and the times of their starts.

use std::collections::HashMap;
use std::sync::Arc;

use pipsqueak_policy::scan;
use pipsqueak_policy::zygotes::{
    Cost, Costs, Environment, Function, Id, ModuleId, Modules, Parameters, Policy, Realm, Zygote,
};

use super::measured::{self, Measured, Written};
use crate::statistics::{Random, median};

/// A function and the modules of its start.
#[derive(Debug, Clone)]
pub struct Client {
    /// The function as the policy sees it, with its real imports.
    pub function: Function,
    /// Imports that can be seen in the function's code.
    pub guess: Modules,
    /// Each module, with the cost of its import in this function.
    pub modules: Vec<(ModuleId, Cost)>,
}

/// All functions.
#[derive(Debug)]
pub struct World {
    /// The functions with their modules.
    pub clients: Vec<Client>,
    /// The cost of each module: the median over all functions.
    pub costs: Costs,
    /// Other costs of zygotes.
    pub parameters: Parameters,
    written: Vec<(Written, Measured)>,
    modules: usize,
}

impl World {
    /// Makes the world of measured functions.
    pub fn new(written: &[Written], measured: &HashMap<Written, Measured>) -> Self {
        let written: Vec<(Written, Measured)> =
            written.iter().map(|one| (one.clone(), measured::together(one, measured))).collect();
        let parameters = Parameters::default();
        let mut world =
            Self { clients: Vec::new(), costs: Costs::default(), parameters, written, modules: 0 };
        let mut policy = Policy::new(parameters);
        world.clients = world.named(&mut policy);
        world.modules = policy.names.modules();
        let mut of_module: HashMap<ModuleId, (Vec<f64>, Vec<f64>)> = HashMap::new();
        for (module, cost) in world.clients.iter().flat_map(|client| &client.modules) {
            let known = of_module.entry(*module).or_default();
            known.0.push(cost.us);
            known.1.push(cost.bytes);
        }
        for (module, (us, bytes)) in of_module {
            // Memory that an earlier import has freed is used again: a module can take less than
            // nothing, a set of them can not.
            let cost = Cost { us: median(&us), bytes: median(&bytes).max(0.0) };
            world.costs.observe(module, cost);
        }
        world
    }

    /// A policy that knows only the names, whose numbers are the same in every policy.
    pub fn policy(&self) -> Policy {
        let mut policy = Policy::new(self.parameters);
        self.named(&mut policy);
        policy
    }

    /// The realm that all functions share.
    pub fn realm(&self) -> Realm {
        self.clients[0].function.realm
    }

    fn named(&self, policy: &mut Policy) -> Vec<Client> {
        let realm = policy.names.realm("all");
        let client = |(written, measured): &(Written, Measured)| {
            let names = &mut policy.names;
            let distributions = measured.distributions.iter().map(|name| names.distribution(name));
            let environment =
                Environment { distributions: distributions.collect(), requires: HashMap::new() };
            let mut modules = Vec::new();
            for (name, owner, us, bytes) in &measured.modules {
                let owner = owner.as_ref().map(|owner| names.distribution(owner));
                modules.push((names.module(owner, name), Cost { us: *us, bytes: *bytes }));
            }
            let code = format!("import {}\n", written.imports.join(", "));
            let guess = scan::scan("handler", |path| (path == "handler.py").then(|| code.clone()));
            let seen = modules.iter().map(|(module, _)| *module);
            let guessed =
                seen.filter(|&module| guess.modules.contains(&names.module_named(module).name));
            Client {
                guess: guessed.collect(),
                function: Function {
                    realm,
                    environment: Arc::new(environment),
                    modules: modules.iter().map(|(module, _)| *module).collect(),
                },
                modules,
            }
        };
        self.written.iter().map(client).collect()
    }

    /// Microseconds of a fork of a zygote with some modules.
    pub fn fork(&self, modules: &Modules) -> f64 {
        let bytes = self.costs.sum(modules).bytes + self.parameters.interpreter_bytes;
        self.parameters.fork_us + self.parameters.fork_us_per_mib * bytes / 1_048_576.0
    }

    /// Microseconds until a function's modules are loaded.
    pub fn start(&self, client: usize, zygote: Option<&Zygote>) -> f64 {
        let modules = self.clients[client].modules.iter();
        match zygote {
            Some(zygote) => {
                let left = modules.filter(|(module, _)| !zygote.modules.contains(*module));
                zygote.fork_us + left.map(|(_, cost)| cost.us).sum::<f64>()
            }
            None => self.parameters.interpreter_us + modules.map(|(_, cost)| cost.us).sum::<f64>(),
        }
    }

    /// Private memory of a zygote that imports some modules, in bytes.
    pub fn bytes(&self, imports: &Modules, is_root: bool) -> f64 {
        let parameters = &self.parameters;
        let interpreter = if is_root { parameters.interpreter_bytes } else { 0.0 };
        parameters.overhead_bytes + interpreter + self.costs.sum(imports).bytes
    }

    /// The numbers of functions, distributions and modules, in words.
    pub fn describe(&self) -> String {
        let mut distributions: Vec<usize> = self
            .clients
            .iter()
            .flat_map(|client| client.function.environment.distributions.iter().map(Id::place))
            .collect();
        distributions.sort_unstable();
        distributions.dedup();
        format!(
            "{} functions of {} distributions and {} modules",
            self.clients.len(),
            distributions.len(),
            self.modules
        )
    }
}

/// A start: the time and the function.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Seconds since the trace began.
    pub at: f64,
    /// The index of the function.
    pub client: usize,
}

/// Parameters of a trace.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Length in seconds.
    pub seconds: f64,
    /// Starts a second, of all functions.
    pub rate: f64,
    /// Phases of equal length.
    pub phases: usize,
    /// The share of functions that trade places in popularity with others when a phase ends.
    pub drift: f64,
}

/// A trace of random starts. The rate of a function depends on its rank in popularity (Zipf's law),
/// and ranks change over time.
pub fn trace(functions: usize, shape: Shape, random: &mut Random) -> Vec<Arrival> {
    let mut ranks: Vec<usize> = (0..functions).collect();
    random.shuffle(&mut ranks);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred functions, a few phases")]
    let (weights, phase): (Vec<f64>, f64) = (
        (1..=functions).map(|rank| 1.0 / rank as f64).collect(),
        shape.seconds / shape.phases.max(1) as f64,
    );
    let all: f64 = weights.iter().sum();
    let (mut at, mut ends) = (0.0, phase);
    let mut arrivals = Vec::new();
    loop {
        at += -(1.0 - random.unit()).max(1e-9).ln() / shape.rate;
        if at >= shape.seconds {
            return arrivals;
        }
        while at >= ends {
            ends += phase;
            let mut moving: Vec<usize> =
                (0..functions).filter(|_| random.unit() < shape.drift).collect();
            let places = moving.clone();
            random.shuffle(&mut moving);
            let old = ranks.clone();
            for (place, from) in places.into_iter().zip(moving) {
                ranks[place] = old[from];
            }
        }
        let mut left = random.unit() * all;
        let rank = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        arrivals.push(Arrival { at, client: ranks[rank.unwrap_or(functions - 1)] });
    }
}
