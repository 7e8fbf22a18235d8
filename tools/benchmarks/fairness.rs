//! Round trip of a quiet function while another gets ten times the requests that it can answer,
//! compared with the round trip alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pipsqueak::client::{Client, ClientError};
use pipsqueak::wire::{FaultKind, Reply, Request};
use serde_json::value::RawValue;

use crate::Failure;
use crate::instance::{Instance, milliseconds};
use crate::report::{Better, Row};
use crate::statistics::{median, percentile};

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Measurements of each side
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests of the quiet function each time
    #[arg(long, default_value_t = 200)]
    requests: usize,
    /// Sandboxes of the flooded function; it has ten times as many clients
    #[arg(long, default_value_t = 8)]
    sandboxes: usize,
    /// Processor time of both handlers, in milliseconds
    #[arg(long, default_value_t = 5)]
    work: u32,
}

/// The time that the flood takes to rise.
const RISE: Duration = Duration::from_millis(500);
/// The quiet function's pause between two requests.
const PAUSE: Duration = Duration::from_millis(10);

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let instance = Instance::start("paused,zygote,ssd")?;
    let code = format!(
        "import time\n\ndef handler(event):\n    until = time.process_time() + {} / 1000\n    \
         while time.process_time() < until:\n        pass\n",
        flags.work
    );
    instance.deploy("quiet", &code, &[])?;
    instance.deploy("flooded", &code, &["--sandboxes", &flags.sandboxes.to_string()])?;
    for function in ["quiet", "flooded"] {
        instance.invoke(function)?;
    }
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..flags.rounds {
        alone.extend(quiet(flags, &instance)?);
        beside.extend(flooded(flags, &instance, || quiet(flags, &instance))?);
    }
    let p99 = |values: &[f64]| percentile(values, 0.99);
    Ok(vec![
        Row::milliseconds("quiet p99", p99(&alone), p99(&beside), 3.0, Better::Lower),
        Row::new("quiet p50", "ms", median(&alone), median(&beside), None),
    ])
}

/// Round trips of the quiet function, in milliseconds.
fn quiet(flags: &Flags, instance: &Instance) -> Result<Vec<f64>, Failure> {
    let mut client = Client::connect(&instance.folder().join("run"))?;
    let request = request("quiet")?;
    let round_trip = |_| {
        std::thread::sleep(PAUSE);
        let began = Instant::now();
        match client.call(&request, &mut |_| {})? {
            Reply::Invocation(invocation) if invocation.error.is_none() => {
                Ok(milliseconds(began.elapsed()))
            }
            other => Err(format!("unexpected answer {other:?}").into()),
        }
    };
    (0..flags.requests).map(round_trip).collect()
}

/// Runs `act` while another function is flooded.
fn flooded<T>(
    flags: &Flags,
    instance: &Instance,
    act: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let is_over = AtomicBool::new(false);
    let run = instance.folder().join("run");
    std::thread::scope(|scope| {
        let flood = || -> Result<(), Failure> {
            let mut client = Client::connect(&run)?;
            let request = request("flooded")?;
            while !is_over.load(Ordering::Relaxed) {
                match client.call(&request, &mut |_| {}) {
                    Ok(_) => {}
                    Err(ClientError::Fault(fault)) if fault.kind == FaultKind::Refused => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        };
        let threads: Vec<_> = (0..flags.sandboxes * 10).map(|_| scope.spawn(flood)).collect();
        std::thread::sleep(RISE);
        let acted = act();
        is_over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| "a client died")??;
        }
        acted
    })
}

fn request(function: &str) -> Result<Request, Failure> {
    let payload = RawValue::from_string("{}".to_owned())?;
    Ok(Request::Invoke { function: function.to_owned(), payload, deadline_ms: None })
}
