//! Handlers that misbehave, drawn by seeds, and how a plain process fares with each.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;

/// A handler, and what a plain process makes of it.
#[derive(Debug)]
pub struct Case {
    /// What it was drawn by.
    pub seed: u64,
    /// The event by which it misbehaves, and one by which it behaves well.
    pub events: [Value; 2],
    /// How the plain process fared with it.
    pub outcome: Value,
    /// How it fared with the call after it.
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

    /// What it does.
    pub fn acts(&self) -> String {
        self.acts.join(" ")
    }

    /// Whether an act was begun in the plain process.
    pub fn has_begun(&self, act: &str) -> bool {
        self.begun.iter().any(|begun| begun == act)
    }

    /// Whether one of its acts has a trait.
    pub fn is(&self, what: &str) -> bool {
        self.traits.iter().any(|one| one == what)
    }

    /// By what lines of the call `number` begin.
    pub fn token(&self, number: usize) -> String {
        format!("<{}>", self.events[number]["call"].as_str().unwrap())
    }

    /// What the plain process printed in the call `number`.
    pub fn printed(&self, number: usize) -> &[String] {
        &self.printed[number]
    }
}

/// A process that draws them.
#[derive(Debug)]
pub struct Oracle {
    process: Child,
    told: Mutex<std::io::Lines<BufReader<std::process::ChildStdout>>>,
}

impl Oracle {
    /// Has handlers called as `mode` says: in the `main` thread of a plain process of `python`, or in another
    /// `thread`. `folder` has what belongs to it, and says how handlers are named.
    pub fn start(python: &Path, folder: &Path, mode: &str, handlers: &[String]) -> Self {
        let mut command = Command::new(python);
        command.arg(folder.join("oracle.py")).arg(mode).args(handlers);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let told = Mutex::new(BufReader::new(process.stdout.take().unwrap()).lines());
        Self { process, told }
    }

    /// The next, until there is none.
    pub fn next(&self) -> Option<Case> {
        let line = self.told.lock().unwrap().next();
        line.map(|line| Case::read(&line.unwrap()))
    }

    /// Checks that it has come to its end.
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

/// Copies what is Python's into `folder`, which then has bytecode; the copy's place.
pub fn copy(folder: &Path) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("calls/misbehaving");
    let done = Command::new("cp").arg("-r").arg(own).arg(folder).status().unwrap();
    assert!(done.success());
    folder.join("misbehaving")
}
