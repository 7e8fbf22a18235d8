//! The floor under every start from a zygote: a bare fork of an interpreter with the same packages.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Failure;

/// Imports a module, then forks once for each line and prints the nanoseconds until the child's first byte.
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

/// An interpreter that forks on demand; ended when dropped.
#[derive(Debug)]
pub struct Forker {
    child: Child,
    asked: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Forker {
    /// Starts a forker with a module imported.
    pub fn start(python: &Path, module: &str) -> Result<Self, Failure> {
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

    /// Forks once; returns the milliseconds until the child's first byte.
    pub fn fork(&mut self) -> Result<f64, Failure> {
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
