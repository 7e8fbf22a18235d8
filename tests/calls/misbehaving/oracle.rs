//! Handlers that misbehave, drawn by seeds, and their outcomes in a plain process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;

/// A handler, and its outcome in a plain process.
#[derive(Debug)]
pub struct Case {
    /// The seed that has drawn the handler.
    pub seed: u64,
    /// The event that makes the handler misbehave, and one that makes it behave well.
    pub events: [Value; 2],
    /// The outcome of the call in the plain process.
    pub outcome: Value,
    /// The outcome of the call after that in the plain process.
    pub then: Value,
    acts: Vec<String>,
    begun: Vec<String>,
    traits: Vec<String>,
    printed: [Vec<String>; 2],
}

impl Case {
    fn read(line: &str) -> Self {
        let told: Value = serde_json::from_str(line).unwrap();
        let texts = |name: &str| -> Vec<String> {
            told[name]
                .as_array()
                .unwrap()
                .iter()
                .map(|text| text.as_str().unwrap().into())
                .collect()
        };
        Self {
            seed: told["seed"].as_u64().unwrap(),
            events: [told["events"][0].clone(), told["events"][1].clone()],
            outcome: told["outcome"].clone(),
            then: told["then"].clone(),
            acts: texts("acts"),
            begun: texts("begun"),
            traits: texts("traits"),
            printed: [texts("printed"), texts("then_printed")],
        }
    }

    /// The names of the handler's acts.
    pub fn acts(&self) -> String {
        self.acts.join(" ")
    }

    /// True if an act was begun in the plain process.
    pub fn has_begun(&self, act: &str) -> bool {
        self.begun.iter().any(|begun| begun == act)
    }

    /// True if one of the handler's acts has a trait.
    pub fn is(&self, what: &str) -> bool {
        self.traits.iter().any(|one| one == what)
    }

    /// The text that begins the lines of the call `number`.
    pub fn token(&self, number: usize) -> String {
        format!("<{}>", self.events[number]["call"].as_str().unwrap())
    }

    /// The output of the plain process in the call `number`.
    pub fn printed(&self, number: usize) -> &[String] {
        &self.printed[number]
    }
}

/// A process that draws handlers.
#[derive(Debug)]
pub struct Oracle {
    process: Child,
    told: Mutex<std::io::Lines<BufReader<std::process::ChildStdout>>>,
}

impl Oracle {
    /// Starts a process that calls handlers as `mode` says: in the `main` thread of a plain process
    /// of `python`, or in another `thread`. `folder` has the Python code.
    pub fn start(python: &Path, folder: &Path, mode: &str, handlers: &[String]) -> Self {
        let mut command = Command::new(python);
        command.arg(folder.join("oracle.py")).arg(mode).args(handlers);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let told = Mutex::new(BufReader::new(process.stdout.take().unwrap()).lines());
        Self { process, told }
    }

    /// The next case, or `None` at the end.
    pub fn next(&self) -> Option<Case> {
        let line = self.told.lock().unwrap().next();
        line.map(|line| Case::read(&line.unwrap()))
    }

    /// Checks that the process has come to its end.
    pub fn end(mut self) {
        assert!(self.process.wait().unwrap().success(), "the plain processes' caller has failed");
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Copies the Python code into `folder`, so that its bytecode stays there; returns the copy's path.
pub fn copy(folder: &Path) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("calls/misbehaving");
    let done = Command::new("cp").arg("-r").arg(own).arg(folder).status().unwrap();
    assert!(done.success());
    folder.join("misbehaving")
}
