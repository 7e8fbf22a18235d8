//! Choice of zygotes, by trace: ours, learned from start to start, compared with fixed trees within
//! the same memory. One tree is made with the whole trace known, one is OpenLambda's default.
//!
//! Imports of functions are really made, and the time of each module is measured there. The times
//! of starts are then added up.

mod drivers;
mod measured;
mod offline;
mod packages;
mod world;

use drivers::{Run, Zygotes};
use world::{Arrival, Shape, World};

use crate::Failure;
use crate::report::{Better, Row};
use crate::statistics::{Random, median, percentile};

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Number of functions
    #[arg(long, default_value_t = 500)]
    functions: usize,
    /// Length of the trace
    #[arg(long, default_value_t = 240.0)]
    minutes: f64,
    /// Starts a second, of all functions
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    /// Time between changes of the functions' popularity, in minutes
    #[arg(long, default_value_t = 30.0)]
    phase: f64,
    /// The share of functions whose popularity changes
    #[arg(long, default_value_t = 0.5)]
    drift: f64,
    /// Memory for zygotes, as a part of that of a tree with a zygote for every function
    #[arg(long, default_value_t = 0.1)]
    memory: f64,
    /// Half-life of a start's weight, in minutes; the policy's default if absent
    #[arg(long)]
    half_life: Option<f64>,
    /// Seconds from one plan to the next
    #[arg(long, default_value_t = 10.0)]
    every: f64,
    /// Rounds of improving the static tree
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Seed of functions and trace
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Interpreters that import at once; any number does, as processor time is measured
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Import all again, in place of using an earlier run's results
    #[arg(long)]
    again: bool,
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let mut random = Random::new(flags.seed);
    let written = measured::draw(flags.functions, &mut random);
    let wanted = [measured::imports(), offline::openlambda_imports()].concat();
    let measured = measured::measure(&wanted, flags.again, flags.workers)?;
    for (one, told) in &measured {
        for failure in &told.failed {
            eprintln!("of {:?}: {failure}", one.requires);
        }
    }
    let mut world = World::new(&written, &measured);
    if let Some(minutes) = flags.half_life {
        world.parameters.half_life = minutes * 60.0;
        world.parameters.horizon = 2.0 * world.parameters.half_life;
    }
    println!("{}", world.describe());

    let mut rows = Vec::new();
    for drift in [flags.drift, 0.0] {
        let seconds = flags.minutes * 60.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few phases of a trace"
        )]
        let phases = (flags.minutes / flags.phase).ceil().max(1.0) as usize;
        let shape = Shape { seconds, rate: flags.rate, phases, drift };
        let trace = world::trace(flags.functions, shape, &mut random);
        rows.extend(compare(flags, &world, &measured, &trace, shape, &mut random));
    }
    Ok(rows)
}

fn compare(
    flags: &Flags,
    world: &World,
    measured: &std::collections::HashMap<measured::Written, measured::Measured>,
    trace: &[Arrival],
    shape: Shape,
    random: &mut Random,
) -> Vec<Row> {
    let counts = offline::counts(world, trace);
    let all = offline::best(world, &vec![1.0; world.clients.len()], f64::MAX, 0, random);
    let budget = all.bytes() * flags.memory;
    let drifts = if shape.drift > 0.0 { "shifting" } else { "steady" };
    println!(
        "\n{drifts}: {} starts; {:.0} MiB of zygotes, of {:.0} MiB for all {} of them",
        trace.len(),
        mib(budget),
        mib(all.bytes()),
        all.standing.len(),
    );
    let ours = drivers::learned(world, trace, budget, flags.every);
    let best = offline::best(world, &counts, budget, flags.rounds, random);
    let best = drivers::fixed(world, &best, trace);
    let default = drivers::fixed(world, &offline::openlambda(world, measured, budget), trace);
    let none = drivers::fixed(world, &Zygotes::default(), trace);
    let every = drivers::fixed(world, &all, trace);
    let known = clairvoyant(flags, world, trace, shape, budget, random);
    println!("| {drifts} | mean start | p50 | p99 | most memory |\n|---|---|---|---|---|");
    let told = [
        ("learned", &ours),
        ("best static tree", &best),
        ("OpenLambda's default tree", &default),
        ("best tree of each phase, known ahead", &known),
        ("a zygote for every function, any memory", &every),
        ("no zygote", &none),
    ];
    for (name, run) in told {
        println!(
            "| {name} | {:.2} ms | {:.2} ms | {:.2} ms | {:.0} MiB |",
            mean(run),
            median(&run.starts) / 1e3,
            percentile(&run.starts, 0.99) / 1e3,
            mib(run.peak)
        );
    }
    println!(
        "learned: {} zygotes started, {:.0} s of work; plans of {:.1} ms p50, {:.1} ms p99",
        ours.started,
        ours.work,
        median(&ours.planning),
        percentile(&ours.planning, 0.99)
    );
    let row = |name: &str, floor: &Run, budget| {
        let name = format!("{drifts} demand, learned / {name}");
        Row {
            budget,
            better: Better::Lower,
            ..Row::new(&name, "ms", mean(floor), mean(&ours), None)
        }
    };
    let budgets = if shape.drift > 0.0 { (Some(0.9), Some(0.6)) } else { (None, None) };
    vec![
        row("best static tree", &best, budgets.0),
        row("OpenLambda's default tree", &default, budgets.1),
        row("best tree of each phase", &known, None),
        row("no zygote", &none, None),
    ]
}

/// Starts from the best tree of each phase, which exists from the phase's beginning: a bound that
/// nothing beats by much.
fn clairvoyant(
    flags: &Flags,
    world: &World,
    trace: &[Arrival],
    shape: Shape,
    budget: f64,
    random: &mut Random,
) -> Run {
    let mut run = Run::default();
    #[expect(clippy::cast_precision_loss, reason = "a few phases")]
    let length = shape.seconds / shape.phases as f64;
    let mut rest = trace;
    let mut ends = length;
    while !rest.is_empty() {
        let (phase, later) = rest.split_at(rest.partition_point(|arrival| arrival.at < ends));
        let counts = offline::counts(world, phase);
        let tree = offline::best(world, &counts, budget, flags.rounds / shape.phases, random);
        let one = drivers::fixed(world, &tree, phase);
        run.starts.extend(one.starts);
        run.peak = run.peak.max(one.peak);
        rest = later;
        ends += length;
    }
    run
}

fn mean(run: &Run) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of starts")]
    let count = run.starts.len().max(1) as f64;
    run.starts.iter().sum::<f64>() / count / 1e3
}

fn mib(bytes: f64) -> f64 {
    bytes / 1_048_576.0
}
