//! Many new functions in a row, each in a sandbox of its own: starts a second, compared with the
//! forkserver of `multiprocessing` with the same modules preloaded and no sandbox; and private
//! memory of each, compared with an interpreter that has imported the package.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use pipsqueak::wire::Tier;

use crate::Failure;
use crate::instance::{Instance, plain_environment};
use crate::report::{Better, Row};
use crate::statistics::median;

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// The package that functions import
    #[arg(long, default_value = "pandas")]
    package: String,
    /// New functions in a round
    #[arg(long, default_value_t = 100)]
    functions: usize,
    /// Rounds of each side
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Starts at the same time: the number of processors of the machine that the benchmark was designed on.
const AT_ONCE: usize = 2;

/// Starts as many processes as each line says, and prints the seconds that it took.
const FORKSERVER: &str = "
import multiprocessing, sys, threading, time

def task(queue):
    queue.put(1)

def starts(context, count):
    for _ in range(count):
        queue = context.SimpleQueue()
        process = context.Process(target=task, args=(queue,))
        process.start()
        queue.get()
        process.join()

if __name__ == '__main__':
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([sys.argv[1]])
    starts(context, 2)
    print('ready', flush=True)
    for line in sys.stdin:
        at_once, count = map(int, line.split())
        threads = [threading.Thread(target=starts, args=(context, count)) for _ in range(at_once)]
        began = time.perf_counter()
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(time.perf_counter() - began, flush=True)
";

/// Imports a module and waits for its end.
const IMPORTED: &str = "
import importlib, sys
importlib.import_module(sys.argv[1])
print('ready', flush=True)
sys.stdin.read()
";

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let package = flags.package.as_str();
    let instance = Instance::start_with(&[], None)?;
    instance.call(&["env", "add", "bench", package])?;
    let code = format!("import {package}\n\ndef handler(event):\n    return 1\n");
    let names: Vec<_> = (0..flags.functions).map(|number| format!("new-{number}")).collect();
    for name in &names {
        instance.deploy(name, &code, &["--env", "bench"])?;
    }
    instance.invoke(&names[0])?;
    instance.await_zygotes()?;
    let plain = plain_environment(&instance.folder().join("plain"), &[package])?;
    let script = instance.folder().join("forkserver.py");
    fs::write(&script, FORKSERVER)?;
    let mut forkserver = Peer::start(&plain, &[script.to_str().ok_or("not UTF-8")?, package])?;

    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..flags.rounds {
        let each = flags.functions / AT_ONCE;
        let seconds: f64 = forkserver.ask(&format!("{AT_ONCE} {each}"))?.parse()?;
        floor.push(rate(each * AT_ONCE, seconds));
        instance.evict_paused()?;
        ours.push(rate(names.len(), start_all(&instance, &names)?));
    }
    let alone = Peer::start(&plain, &["-c", IMPORTED, package])?;
    let private: Vec<_> = instance
        .status()?
        .sandboxes
        .iter()
        .filter(|sandbox| sandbox.pid != 0)
        .map(|sandbox| private_mebibytes(sandbox.pid))
        .collect::<Result<_, _>>()?;
    Ok(vec![
        Row {
            better: Better::Higher,
            ..Row::new("starts a second", "/s", median(&floor), median(&ours), Some(0.5))
        },
        Row::new(
            "private memory of a further function",
            "MiB",
            private_mebibytes(alone.child.id())?,
            median(&private),
            Some(0.1),
        ),
    ])
}

/// Invokes every function once; returns the seconds that it took.
fn start_all(instance: &Instance, names: &[String]) -> Result<f64, Failure> {
    let began = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> = names
            .chunks(names.len().div_ceil(AT_ONCE))
            .map(|names| scope.spawn(|| names.iter().try_for_each(|name| start(instance, name))))
            .collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| "a client panicked")?)
    })?;
    Ok(began.elapsed().as_secs_f64())
}

fn start(instance: &Instance, name: &str) -> Result<(), Failure> {
    match instance.invoke(name)?.0.tier {
        Tier::Zygote => Ok(()),
        other => Err(format!("the {other:?} tier answered").into()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
fn rate(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// Private memory of a process, in MiB.
fn private_mebibytes(process: u32) -> Result<f64, Failure> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let kibibytes = |line: &str| line.split_whitespace().nth(1)?.parse::<f64>().ok();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    Ok(private.filter_map(kibibytes).sum::<f64>() / 1024.0)
}

/// A Python process that reads and writes lines; ended when dropped.
struct Peer {
    child: Child,
    told: BufReader<std::process::ChildStdout>,
}

impl Peer {
    fn start(python: &Path, arguments: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new(python)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let told = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut peer = Self { child, told };
        match peer.hear()?.as_str() {
            "ready" => Ok(peer),
            other => Err(format!("{arguments:?} said {other:?}").into()),
        }
    }

    fn ask(&mut self, line: &str) -> Result<String, Failure> {
        let stdin = self.child.stdin.as_mut().ok_or("no stdin")?;
        writeln!(stdin, "{line}")?;
        self.hear()
    }

    fn hear(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // What it has started ends when its stdin does.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
