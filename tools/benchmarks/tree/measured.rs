//! Functions, drawn by popularity, and the modules that their imports bring. Each import is
//! measured in an interpreter of its own, with only the import's package and its requirements. The
//! imports of a function bring the union of that.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;

use serde::{Deserialize, Serialize};

use super::packages::PACKAGES;
use crate::Failure;
use crate::instance::plain_environment;
use crate::statistics::Random;

const MEASURE: &str = include_str!("measure.py");

/// An import, or all imports of a function.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Written {
    /// Required packages.
    pub requires: Vec<String>,
    /// Imported modules.
    pub imports: Vec<String>,
}

/// The result of importing some modules.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// The required packages and all their requirements.
    pub distributions: Vec<String>,
    /// Modules in order: name, distribution, and microseconds and bytes of the module alone.
    pub modules: Vec<(String, Option<String>, f64, f64)>,
    /// Failed imports, with reasons.
    pub failed: Vec<String>,
}

/// Draws functions: one to five packages each, by their downloads, and one or more imports of each.
pub fn draw(functions: usize, random: &mut Random) -> Vec<Written> {
    let all: f64 = PACKAGES.iter().map(|package| package.downloads).sum();
    let draw = |random: &mut Random| {
        let mut left = random.unit() * all;
        let chosen = PACKAGES.iter().find(|package| {
            left -= package.downloads;
            left < 0.0
        });
        chosen.unwrap_or(&PACKAGES[0])
    };
    let one = |random: &mut Random| {
        let count = 1 + random.below(5);
        let (mut requires, mut imports) = (BTreeSet::new(), Vec::new());
        while requires.len() < count {
            let package = draw(random);
            if requires.insert(package.name.to_owned()) {
                let first = random.below(package.imports.len());
                for (place, import) in package.imports.iter().enumerate() {
                    if place == first || random.unit() < 0.3 {
                        imports.push((*import).to_owned());
                    }
                }
            }
        }
        Written { requires: requires.into_iter().collect(), imports }
    };
    (0..functions).map(|_| one(random)).collect()
}

/// Each import that functions can have.
pub fn imports() -> Vec<Written> {
    let all =
        PACKAGES.iter().flat_map(|package| package.imports.iter().map(move |one| (package, one)));
    all.map(|(package, import)| Written {
        requires: vec![package.name.to_owned()],
        imports: vec![(*import).to_owned()],
    })
    .collect()
}

/// The union of what a function's imports bring, in the order of loading.
pub fn together(function: &Written, measured: &HashMap<Written, Measured>) -> Measured {
    let mut all = Measured { distributions: Vec::new(), modules: Vec::new(), failed: Vec::new() };
    let mut seen = BTreeSet::new();
    let has = |one: &&Written| {
        function.requires.contains(&one.requires[0]) && function.imports.contains(&one.imports[0])
    };
    for import in imports().iter().filter(has) {
        let Some(one) = measured.get(import) else { continue };
        for distribution in &one.distributions {
            if !all.distributions.contains(distribution) {
                all.distributions.push(distribution.clone());
            }
        }
        for module in &one.modules {
            if seen.insert((&module.0, &module.1)) {
                all.modules.push(module.clone());
            }
        }
    }
    all
}

/// Measures imports. A file keeps the results for later runs.
pub fn measure(
    written: &[Written],
    again: bool,
    workers: usize,
) -> Result<HashMap<Written, Measured>, Failure> {
    let path = kept()?;
    if again && path.exists() {
        std::fs::remove_file(&path)?;
    }
    let mut known = read(&path)?;
    let wanted: BTreeSet<&Written> = written.iter().collect();
    let missing: Vec<&Written> =
        wanted.iter().copied().filter(|one| !known.contains_key(*one)).collect();
    if !missing.is_empty() {
        import_all(&missing, &path, workers.max(1))?;
        known = read(&path)?;
    }
    Ok(known)
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    written: Written,
    measured: Measured,
}

/// The file of results, whose name depends on the measuring program.
fn kept() -> Result<PathBuf, Failure> {
    let mut hasher = DefaultHasher::new();
    MEASURE.hash(&mut hasher);
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = target.join("bench-tree");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder.join(format!("imports-{:016x}.jsonl", hasher.finish())))
}

fn read(path: &Path) -> Result<HashMap<Written, Measured>, Failure> {
    if !path.exists() {
        return Ok(HashMap::new());
    }
    // The last line of a run that was cut off is none.
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    Ok(lines.map(|line| (line.written, line.measured)).collect())
}

fn import_all(imports: &[&Written], path: &Path, workers: usize) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("pipsqueak-bench-").tempdir()?;
    let names = PACKAGES.map(|package| package.name);
    // What OpenLambda's tree has besides.
    let others = ["setuptools", "mock", "chardet", "sqlparse"];
    eprintln!("installing {} packages", names.len() + others.len());
    let python =
        plain_environment(&folder.path().join("all"), &[&names[..], &others[..]].concat())?;
    let file = Mutex::new(File::options().create(true).append(true).open(path)?);
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), Failure> {
        let mut interpreter = Interpreter::start(&python)?;
        while let Some(import) = imports.get(next.fetch_add(1, Ordering::Relaxed)) {
            let measured = interpreter.measure(import)?;
            let line = Line { written: (*import).clone(), measured };
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(file, "{}", serde_json::to_string(&line)?)?;
            let begun = next.load(Ordering::Relaxed).min(imports.len());
            if begun.is_multiple_of(20) {
                eprintln!("{begun} of {} imports measured", imports.len());
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut ends = workers.into_iter().map(ScopedJoinHandle::join);
        ends.try_for_each(|end| end.map_err(|_| "a measuring thread has panicked")?)
    })
}

/// An interpreter that makes imports in processes of their own.
struct Interpreter {
    child: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Interpreter {
    fn start(python: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(python)
            .args(["-c", MEASURE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asked = child.stdin.take().ok_or("no stdin")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Self { child, asked, answers })
    }

    fn measure(&mut self, import: &Written) -> Result<Measured, Failure> {
        writeln!(self.asked, "{}", serde_json::to_string(import)?)?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("the measuring interpreter has ended".into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
