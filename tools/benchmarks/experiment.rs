//! The published experiment: functions with the same import, random requests at a steady rate, one
//! worker, and each combination of tiers.
//!
//! Requests come at their time, whether others have been answered or not, and their total time
//! counts from then. With the ssd tier the functions share one environment, made beforehand.
//! Without it each has requirements of its own, and each start without a better tier installs for
//! itself. Open requests are cut off and counted after a grace that follows the last request.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pipsqueak::wire::{Outcome, Tier};
use serde::Serialize;

use crate::Failure;
use crate::instance::{Instance, milliseconds};
use crate::report::{Better, Row};
use crate::statistics::{Random, median, percentile};

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Length of each combination's run
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// The package that all functions import
    #[arg(long, default_value = "pandas")]
    package: String,
    /// The module that they import, if its name is not the package's
    #[arg(long)]
    module: Option<String>,
    /// Number of functions
    #[arg(long, default_value_t = 100)]
    functions: u32,
    /// Requests a second
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    /// Seed of the order and times of requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this combination, such as `zygote,ssd` or `none`; may be given several times
    #[arg(long)]
    tiers: Vec<String>,
    /// Longest wait for answers after the last request, in seconds
    #[arg(long, default_value_t = 30.0)]
    grace: f64,
    /// File for each request, a JSON object a line
    #[arg(long)]
    raw: Option<PathBuf>,
}

/// All combinations, from nothing shared to everything.
const COMBINATIONS: [&str; 8] = [
    "none",
    "paused",
    "zygote",
    "paused,zygote",
    "ssd",
    "paused,ssd",
    "zygote,ssd",
    "paused,zygote,ssd",
];

/// An answered request. Times are in milliseconds; `due` counts from the earliest time of the first request.
#[derive(Debug, Clone, Serialize)]
struct Answer {
    tiers: String,
    function: u32,
    due: f64,
    tier: Tier,
    start: f64,
    total: f64,
}

/// A combination's run.
struct Run {
    tiers: String,
    requests: usize,
    answers: Vec<Answer>,
    failures: usize,
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let chosen: Vec<String> = if flags.tiers.is_empty() {
        COMBINATIONS.map(ToOwned::to_owned).to_vec()
    } else {
        flags.tiers.clone()
    };
    let mut runs = Vec::new();
    for tiers in chosen {
        eprintln!("tiers {tiers}: {} minutes", flags.minutes);
        runs.push(run_combination(flags, &tiers)?);
    }
    if let Some(path) = &flags.raw {
        let mut file = std::fs::File::create(path)?;
        for answer in runs.iter().flat_map(|run| &run.answers) {
            writeln!(file, "{}", serde_json::to_string(answer)?)?;
        }
    }
    print(&runs);
    Ok(rows(&runs))
}

/// The time and the function of each request: exponential gaps, uniform functions.
fn schedule(flags: &Flags) -> Vec<(Duration, u32)> {
    let mut random = Random::new(flags.seed);
    let mut due = Duration::ZERO;
    let end = Duration::from_secs_f64(flags.minutes * 60.0);
    let mut requests = Vec::new();
    loop {
        due += Duration::from_secs_f64(-(1.0 - random.unit()).max(1e-9).ln() / flags.rate);
        if due > end {
            return requests;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number below the number of functions"
        )]
        let function = (random.unit() * f64::from(flags.functions)) as u32;
        requests.push((due, function.min(flags.functions - 1)));
    }
}

fn run_combination(flags: &Flags, tiers: &str) -> Result<Run, Failure> {
    let instance = Instance::start(tiers)?;
    let shared = tiers.split(',').any(|tier| tier == "ssd");
    if shared {
        instance.call(&["env", "add", "bench", &flags.package])?;
    }
    let module = flags.module.as_ref().unwrap_or(&flags.package);
    for number in 0..flags.functions {
        let code = format!("import {module}\n\ndef handler(event):\n    return {number}\n");
        let requirements = instance.folder().join("requirements.txt");
        // A line of its own, so that no two functions' requirements are the same.
        let own = format!("function-{number} ; python_version < '3'");
        std::fs::write(&requirements, format!("{}\n{own}\n", flags.package))?;
        let requirements = requirements.to_string_lossy();
        let source = if shared { ["--env", "bench"] } else { ["-r", &requirements] };
        let flags = [&source[..], &["--timeout", "120"]].concat();
        instance.deploy(&format!("f{number}"), &code, &flags)?;
    }
    let requests = schedule(flags);
    let ended = ask_all(flags, tiers, &requests, &Arc::new(instance))?;
    let (answers, failures): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
    if let Some(Err(failure)) = failures.first() {
        eprintln!("tiers {tiers}: {} failed, the first with: {failure}", failures.len());
    }
    Ok(Run {
        tiers: tiers.to_owned(),
        requests: requests.len(),
        answers: answers.into_iter().flatten().collect(),
        failures: failures.len(),
    })
}

/// Sends each request at its time and stops the instance; returns the results that came in time.
fn ask_all(
    flags: &Flags,
    tiers: &str,
    schedule: &[(Duration, u32)],
    instance: &Arc<Instance>,
) -> Result<Vec<Result<Answer, Failure>>, Failure> {
    let ended = Arc::new(Mutex::new(Vec::new()));
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(flags.minutes * 60.0 + flags.grace);
    let mut requests = Vec::new();
    for &(due, function) in schedule {
        thread::sleep((began + due).saturating_duration_since(Instant::now()));
        let (tiers, instance, ended) = (tiers.to_owned(), instance.clone(), ended.clone());
        requests.push(thread::spawn(move || {
            let answer = ask(&instance, &tiers, function, began, due);
            lock(&ended).push(answer);
        }));
    }
    while requests.iter().any(|request| !request.is_finished()) && Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
    }
    let in_time = std::mem::take(&mut *lock(&ended));
    // The end of the instance is the end of every request that still waits.
    instance.call(&["down"])?;
    for request in requests {
        request.join().map_err(|_| "a request has panicked")?;
    }
    Ok(in_time)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ask(
    instance: &Instance,
    tiers: &str,
    function: u32,
    began: Instant,
    due: Duration,
) -> Result<Answer, Failure> {
    let (invocation, _) = instance.invoke(&format!("f{function}"))?;
    let total = milliseconds(began.elapsed().saturating_sub(due));
    let expected = function.to_string();
    let right = invocation.outcome == Outcome::Done
        && invocation.result.as_ref().is_some_and(|result| result.get() == expected);
    if !right {
        return Err(format!("f{function} answered {invocation:?}").into());
    }
    Ok(Answer {
        tiers: tiers.to_owned(),
        function,
        due: milliseconds(due),
        tier: invocation.tier,
        start: milliseconds(Duration::from_micros(invocation.start_us)),
        total,
    })
}

fn print(runs: &[Run]) {
    println!(
        "\n| tiers on | requests | answered by | start p50 | start p99 | total p50 | total p99 |"
    );
    println!("|---|---|---|---|---|---|---|");
    for run in runs {
        let mut by_tier: BTreeMap<Tier, usize> = BTreeMap::new();
        for answer in &run.answers {
            *by_tier.entry(answer.tier).or_default() += 1;
        }
        let mut by: Vec<String> = by_tier
            .iter()
            .map(|(tier, count)| format!("{count} {tier:?}").to_lowercase())
            .collect();
        let late = run.requests - run.answers.len() - run.failures;
        let others = [(run.failures, "failed"), (late, "not in time")];
        let others = others.into_iter().filter(|(count, _)| *count > 0);
        by.extend(others.map(|(count, how)| format!("{count} {how}")));
        let starts: Vec<f64> = run.answers.iter().map(|answer| answer.start).collect();
        let totals: Vec<f64> = run.answers.iter().map(|answer| answer.total).collect();
        println!(
            "| {} | {} | {} | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} ms |",
            run.tiers.replace(',', ", "),
            run.requests,
            by.join(", "),
            median(&starts),
            percentile(&starts, 0.99),
            median(&totals),
            percentile(&totals, 0.99),
        );
    }
}

/// Times of a tier's starts over all runs, in milliseconds; cold ones only of runs without sharing.
fn starts(runs: &[Run], tier: Tier) -> Vec<f64> {
    let of_tier = |run: &&Run| tier != Tier::Cold || run.tiers == "none";
    let answers = runs.iter().filter(of_tier).flat_map(|run| &run.answers);
    answers.filter(|answer| answer.tier == tier).map(|answer| answer.start).collect()
}

/// The speed of each tier's starts, in multiples of that of a cold start.
fn rows(runs: &[Run]) -> Vec<Row> {
    let cold = median(&starts(runs, Tier::Cold));
    let budgets = [(Tier::Ssd, 2.0), (Tier::Zygote, 300.0), (Tier::Paused, 10_000.0)];
    let compared = budgets.into_iter().filter_map(|(tier, budget)| {
        let ours = median(&starts(runs, tier));
        let name = format!("cold p50 / {tier:?} p50").to_lowercase();
        (!ours.is_nan() && !cold.is_nan())
            .then(|| Row::milliseconds(&name, ours, cold, budget, Better::Higher))
    });
    compared.collect()
}
