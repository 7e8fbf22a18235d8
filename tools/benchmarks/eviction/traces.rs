//! Functions and traces to replay. Their shapes follow what was published of Azure Functions (Shahrad and
//! others, 2020): a few functions have most requests, many are called by timers, and memory and times are
//! spread over orders of magnitude.

use crate::statistics::Random;

/// A function, as a policy sees it.
#[derive(Debug, Clone)]
pub struct Function {
    /// The function's name.
    pub name: String,
    /// Memory of one of its sandboxes.
    pub bytes: u64,
    /// Time of a start without a paused sandbox, in seconds.
    pub start: f64,
    /// Time of the handler, in seconds.
    pub run: f64,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Time since the trace's begin, in microseconds.
    pub micros: u64,
    /// The index of the requested function.
    pub function: usize,
}

/// Draws a trace of so many seconds with so many requests a second.
pub type Draw = fn(&[Function], f64, f64, &mut Random) -> Vec<Arrival>;

/// All traces, by name.
pub const TRACES: [(&str, Draw); 4] =
    [("uniform", uniform), ("zipf, bursts", bursts), ("periodic", periodic), ("mixed", mixed)];

/// Some functions. Half have a zygote and start in 10 to 40 ms; the others have imports that no
/// zygote may hold, of up to seconds. Each takes 8 to some hundred MiB.
pub fn functions(count: usize, random: &mut Random) -> Vec<Function> {
    let mut draw = |at| {
        let has_zygote = random.unit() < 0.5;
        let start = if has_zygote { 0.01 + 0.03 * random.unit() } else { spread(random, 0.3, 0.8) };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bytes of a sandbox"
        )]
        let bytes = (spread(random, 24.0, 0.8).max(8.0) * f64::from(1 << 20)) as u64;
        Function { name: format!("f{at}"), bytes, start, run: spread(random, 0.05, 1.2) }
    };
    (0..count).map(&mut draw).collect()
}

/// The published experiment: any function at any time.
fn uniform(functions: &[Function], seconds: f64, rate: f64, random: &mut Random) -> Vec<Arrival> {
    let mut trace = Vec::new();
    let mut at = 0.0;
    while at < seconds {
        trace.push(Arrival { micros: micros(at), function: random.below(functions.len()) });
        at += gap(rate, random);
    }
    trace
}

/// Few functions have most requests (Zipf), each of which brings others soon after it.
fn bursts(functions: &[Function], seconds: f64, rate: f64, random: &mut Random) -> Vec<Arrival> {
    const BURST: usize = 5;
    #[expect(clippy::cast_precision_loss, reason = "places in a short list")]
    let weights: Vec<f64> = (1..=functions.len()).map(|place| 1.0 / place as f64).collect();
    let sum: f64 = weights.iter().sum();
    let mut places: Vec<usize> = (0..functions.len()).collect();
    random.shuffle(&mut places);
    let mut trace = Vec::new();
    let mut at = 0.0;
    while at < seconds {
        let mut left = random.unit() * sum;
        let drawn = weights.iter().position(|weight| {
            left -= weight;
            left <= 0.0
        });
        let function = places[drawn.unwrap_or(0)];
        let mut then = at;
        for _ in 0..=random.below(2 * BURST - 1) {
            trace.push(Arrival { micros: micros(then), function });
            then += gap(2.0, random);
        }
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let size = BURST as f64;
        at += gap(rate / size, random);
    }
    sorted(trace)
}

/// Timers, each with a period from seconds to an hour.
fn periodic(functions: &[Function], seconds: f64, rate: f64, random: &mut Random) -> Vec<Arrival> {
    let drawn: Vec<f64> = functions.iter().map(|_| spread(random, 300.0, 1.2)).collect();
    // So that together they come at the rate.
    let natural: f64 = drawn.iter().map(|period| 1.0 / period).sum();
    let mut trace = Vec::new();
    for (function, period) in drawn.iter().enumerate() {
        let period = period * natural / rate;
        let mut at = random.unit() * period;
        while at < seconds {
            trace.push(Arrival { micros: micros(at), function });
            at += period;
        }
    }
    sorted(trace)
}

/// Half of the requests from bursts, half from timers.
fn mixed(functions: &[Function], seconds: f64, rate: f64, random: &mut Random) -> Vec<Arrival> {
    let mut trace = bursts(functions, seconds, rate / 2.0, random);
    trace.extend(periodic(functions, seconds, rate / 2.0, random));
    sorted(trace)
}

fn sorted(mut trace: Vec<Arrival>) -> Vec<Arrival> {
    trace.sort_by_key(|arrival| arrival.micros);
    trace
}

/// Time to the next of independent events, so many a second.
fn gap(rate: f64, random: &mut Random) -> f64 {
    -(1.0 - random.unit()).max(1e-9).ln() / rate
}

/// A log-normal value about a median (Box and Muller).
fn spread(random: &mut Random, median: f64, deviation: f64) -> f64 {
    let radius = (-2.0 * random.unit().max(1e-9).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * random.unit()).cos();
    median * (deviation * normal).exp()
}

/// Seconds as whole microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time of a trace, far below 2^52"
)]
pub fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_in_order_and_as_dense_as_asked_for() {
        let mut random = Random::new(3);
        let functions = functions(50, &mut random);
        for (name, draw) in TRACES {
            let trace = draw(&functions, 3600.0, 2.0, &mut random);
            assert!(trace.is_sorted_by_key(|arrival| arrival.micros), "{name}");
            assert!((5000..10_000).contains(&trace.len()), "{name}: {}", trace.len());
            assert!(trace.iter().all(|arrival| arrival.function < functions.len()), "{name}");
        }
    }
}
