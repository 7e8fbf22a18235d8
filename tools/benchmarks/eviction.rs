//! Choice of the paused sandboxes to keep, by trace: the supervisor's own policies within the same
//! memory. Nothing is started; the times of starts are added up.

mod traces;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use pipsqueak_policy::eviction::{Cache, Policy};

use crate::report::Row;
use crate::statistics::Random;

use traces::{Arrival, Function, TRACES};

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Number of functions
    #[arg(long, default_value_t = 200)]
    functions: usize,
    /// Length of each trace
    #[arg(long, default_value_t = 240.0)]
    minutes: f64,
    /// Requests a second, of all functions
    #[arg(long, default_value_t = 4.0)]
    rate: f64,
    /// Memory for paused sandboxes, as a part of that of one sandbox for every function; may be
    /// given several times
    #[arg(long, default_values_t = [0.1, 0.2, 0.4, 0.8])]
    memory: Vec<f64>,
    /// Seed of functions and traces
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Time of a paused sandbox's start, in seconds.
const RESUMED: f64 = 0.0003;

/// The result of a trace.
#[derive(Debug, Clone, Copy, Default)]
struct Replay {
    requests: f64,
    found: f64,
    seconds: f64,
}

impl Replay {
    fn hit_rate(&self) -> f64 {
        self.found / self.requests
    }

    fn mean_start(&self) -> f64 {
        self.seconds / self.requests * 1000.0
    }
}

/// Replays.
pub fn run(flags: &Flags) -> Vec<Row> {
    let mut random = Random::new(flags.seed);
    let functions = traces::functions(flags.functions, &mut random);
    let all: u64 = functions.iter().map(|function| function.bytes).sum();
    println!("| trace | memory | lru hits | greedy-dual hits | lru start | greedy-dual start |");
    println!("|---|---|---|---|---|---|");
    let mut rows = Vec::new();
    for (name, draw) in TRACES {
        let trace = draw(&functions, flags.minutes * 60.0, flags.rate, &mut random);
        for part in &flags.memory {
            #[expect(clippy::cast_precision_loss, reason = "bytes of some sandboxes")]
            let mebibytes = part * all as f64 / f64::from(1 << 20);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "bytes of some sandboxes"
            )]
            let budget = (mebibytes * f64::from(1 << 20)) as u64;
            let [lru, dual] = [Policy::Lru, Policy::greedy_dual()]
                .map(|policy| replay(&functions, &trace, budget, policy));
            println!(
                "| {name} | {mebibytes:.0} MiB | {:.3} | {:.3} | {:.2} ms | {:.2} ms |",
                lru.hit_rate(),
                dual.hit_rate(),
                lru.mean_start(),
                dual.mean_start(),
            );
            let name = format!("{name} {part}: greedy-dual / lru start");
            rows.push(Row::new(&name, "ms", lru.mean_start(), dual.mean_start(), None));
        }
    }
    rows
}

/// Replays a trace as the supervisor serves it: a sandbox is taken while it serves, and is kept
/// again afterwards.
fn replay(functions: &[Function], trace: &[Arrival], budget: u64, policy: Policy) -> Replay {
    let mut cache = Cache::new(policy);
    // Those that serve: when they have answered, in microseconds, for which function, and their start's
    // too, where they were started.
    let mut serving = BinaryHeap::new();
    let mut came_to = Replay::default();
    for arrival in trace {
        while let Some(&Reverse((until, at, started))) = serving.peek()
            && until <= arrival.micros
        {
            serving.pop();
            let function: &Function = &functions[at];
            let start = Some(Duration::from_micros(started)).filter(|start| !start.is_zero());
            cache.keep(&function.name, function.bytes, start, ());
            cache.shrink(budget);
        }
        let function = &functions[arrival.function];
        let is_found = cache.take(&function.name).is_some();
        let took = if is_found { RESUMED } else { function.start };
        came_to.requests += 1.0;
        came_to.found += f64::from(u8::from(is_found));
        came_to.seconds += took;
        let started = if is_found { 0 } else { traces::micros(function.start) };
        let until = arrival.micros + traces::micros(took + function.run);
        serving.push(Reverse((until, arrival.function, started)));
    }
    came_to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_memory_for_all_each_function_starts_once_and_with_none_always() {
        let mut random = Random::new(1);
        let functions = traces::functions(10, &mut random);
        // One after the other, so that one sandbox of each is enough.
        let places = (0..100).zip((0..10).cycle());
        let trace: Vec<_> =
            places.map(|(at, function)| Arrival { micros: at * 100_000_000, function }).collect();
        for policy in [Policy::Lru, Policy::greedy_dual()] {
            let all = replay(&functions, &trace, u64::MAX, policy);
            assert!((all.found - 90.0).abs() < 0.5, "{all:?}");
            let none = replay(&functions, &trace, 0, policy);
            assert!(none.found < 0.5, "{none:?}");
        }
    }
}
