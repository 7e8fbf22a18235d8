//! A new function whose packages a zygote has imported, against a bare fork of an interpreter with
//! the same packages, and against importing them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use pipsqueak::wire::Tier;

use crate::Failure;
use crate::instance::{Instance, milliseconds, plain_environment};
use crate::report::{Better, Row};
use crate::statistics::{median, percentile};

/// What can be set.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// The package that functions import
    #[arg(long, default_value = "pandas")]
    package: String,
    /// What they import of it, where that is called otherwise
    #[arg(long)]
    module: Option<String>,
    /// New functions started, and forks
    #[arg(long, default_value_t = 60)]
    rounds: usize,
    /// Plain imports among them, spread evenly
    #[arg(long, default_value_t = 8)]
    imports: usize,
}

/// Imports a module, then forks once for each line and tells the nanoseconds to the child's first
/// byte.
const FORKER: &str = "
import gc, importlib, os, sys, time
importlib.import_module(sys.argv[1])
gc.collect()
gc.freeze()
print('ready', flush=True)
for _ in sys.stdin:
    reader, writer = os.pipe()
    began = time.perf_counter_ns()
    pid = os.fork()
    if pid == 0:
        os.write(writer, b'x')
        os._exit(0)
    os.read(reader, 1)
    took = time.perf_counter_ns() - began
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    print(took, flush=True)
";

struct Forker {
    child: Child,
    asked: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Forker {
    fn start(python: &Path, module: &str) -> Result<Self, Failure> {
        let mut child = Command::new(python)
            .args(["-c", FORKER, module])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asked = child.stdin.take().ok_or("no stdin")?;
        let told = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut forker = Self { child, asked, told };
        match forker.hear()?.as_str() {
            "ready" => Ok(forker),
            other => Err(format!("the forking interpreter said {other:?}").into()),
        }
    }

    fn hear(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn fork(&mut self) -> Result<f64, Failure> {
        self.asked.write_all(b"\n")?;
        Ok(self.hear()?.parse::<f64>()? / 1e6)
    }
}

impl Drop for Forker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long an interpreter takes to start, import a module and end, in milliseconds.
fn import(python: &Path, module: &str) -> Result<f64, Failure> {
    let began = Instant::now();
    let status = Command::new(python).args(["-c", &format!("import {module}")]).status()?;
    if status.success() {
        Ok(milliseconds(began.elapsed()))
    } else {
        Err(format!("python -c 'import {module}' ended with {status}").into())
    }
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let module = flags.module.as_ref().unwrap_or(&flags.package);
    let instance = Instance::start("paused,zygote,ssd")?;
    instance.call(&["env", "add", "bench", &flags.package])?;
    let code = format!("import {module}\n\ndef handler(event):\n    return 1\n");
    instance.deploy("new", &code, &["--env", "bench"])?;
    instance.invoke("new")?;
    instance.await_zygotes()?;
    let plain = plain_environment(&instance.folder().join("plain"), &[&flags.package])?;
    let mut forker = Forker::start(&instance.view("bench").join("bin/python"), module)?;

    let (mut forks, mut ours, mut imports) = (Vec::new(), Vec::new(), Vec::new());
    let between_imports = (flags.rounds / flags.imports.max(1)).max(1);
    for round in 0..flags.rounds {
        if round % between_imports == 0 {
            imports.push(import(&plain, module)?);
        }
        forks.push(forker.fork()?);
        instance.evict_paused()?;
        // What was evicted is taken down beside the next start, as it is in use.
        let (invocation, took) = instance.invoke("new")?;
        if invocation.tier != Tier::Zygote {
            return Err(format!("the {:?} tier answered", invocation.tier).into());
        }
        ours.push(milliseconds(took));
    }
    let p99 = |values: &[f64]| percentile(values, 0.99);
    let (fork, import, start) = (median(&forks), median(&imports), median(&ours));
    Ok(vec![
        Row::milliseconds("new function / fork p50", fork, start, 2.5, Better::Lower),
        Row::milliseconds("new function / fork p99", p99(&forks), p99(&ours), 4.0, Better::Lower),
        Row::milliseconds("new function / plain import", import, start, 0.02, Better::Lower),
    ])
}
