//! Comparison of a zygote's child with an interpreter of its own: for each distribution, everything
//! that a process sees of itself after the import.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use pipsqueak::wire::{Invocation, Outcome, Tier};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::instance::Instance;
use crate::report::Row;

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Distributions by name, or two numbers: the first and the last line of the list
    names: Vec<String>,
    /// A list of distributions, one a line, the name last
    #[arg(long)]
    list: Option<PathBuf>,
    /// The interpreter, if not the default one
    #[arg(long)]
    python: Option<PathBuf>,
    /// File for each outcome, a JSON object a line; distributions in it are not tried again
    #[arg(long)]
    results: Option<PathBuf>,
    /// Distributions after which the instances are replaced, which bounds their disk space
    #[arg(long, default_value_t = 25)]
    batch: usize,
}

/// Most invocations until a zygote serves a function; each may show that other imports are needed.
const ROUNDS: usize = 5;
/// Most names of a difference that are reported.
const SHOWN: usize = 6;

/// The outcome for one distribution.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    distribution: String,
    verdict: Verdict,
    /// The differences, or the reason of the verdict.
    details: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Both processes see the same.
    Same,
    /// The two processes differ.
    Different,
    /// No zygote served it.
    Unforked,
    /// The distribution cannot be installed here, or has no module.
    Absent,
}

/// An instance without zygotes, and one with zygotes.
struct Pair {
    fresh: Instance,
    forking: Instance,
}

/// Compares each distribution.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let names = wanted(flags)?;
    let known = flags.results.as_deref().map_or_else(|| Ok(Vec::new()), read)?;
    let done: BTreeSet<&str> = known.iter().map(|one| one.distribution.as_str()).collect();
    let left: Vec<_> = names.iter().filter(|name| !done.contains(name.as_str())).collect();
    let mut results = match &flags.results {
        Some(path) => Some(File::options().append(true).create(true).open(path)?),
        None => None,
    };
    let downloads = tempfile::Builder::new().prefix("pipsqueak-bench-downloads-").tempdir()?;
    let mut found = Vec::new();
    for batch in left.chunks(flags.batch.max(1)) {
        let pair = Pair::start(downloads.path())?;
        for name in batch {
            let one = pair.compare(name, flags.python.as_deref())?;
            println!("{:<10} {name} {}", word(one.verdict), one.details.join("; "));
            if let Some(results) = &mut results {
                writeln!(results, "{}", serde_json::to_string(&one)?)?;
            }
            found.push(one);
        }
    }
    found.extend(known.into_iter().filter(|one| names.contains(&one.distribution)));
    Ok(rows(&found))
}

#[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
fn rows(found: &[Found]) -> Vec<Row> {
    let count = |verdict| found.iter().filter(|one| one.verdict == verdict).count() as f64;
    let compared = count(Verdict::Same) + count(Verdict::Different);
    vec![
        Row::new(
            "different of those compared",
            "distributions",
            compared,
            count(Verdict::Different),
            Some(0.0),
        ),
        Row::new(
            "served by no zygote",
            "distributions",
            found.len() as f64,
            count(Verdict::Unforked),
            None,
        ),
        Row::new(
            "not to be had",
            "distributions",
            found.len() as f64,
            count(Verdict::Absent),
            None,
        ),
    ]
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Same => "same",
        Verdict::Different => "DIFFERENT",
        Verdict::Unforked => "unforked",
        Verdict::Absent => "absent",
    }
}

fn wanted(flags: &Flags) -> Result<Vec<String>, Failure> {
    let numbers: Vec<usize> = flags.names.iter().filter_map(|name| name.parse().ok()).collect();
    let (Some(list), [first, end]) = (&flags.list, numbers.as_slice()) else {
        if flags.list.is_some() || flags.names.is_empty() {
            return Err(
                "give names of distributions, or --list FILE with the first and last line".into()
            );
        }
        return Ok(flags.names.clone());
    };
    let file = File::open(list).map_err(|error| format!("{}: {error}", list.display()))?;
    let lines =
        BufReader::new(file).lines().skip(first.saturating_sub(1)).take(end + 1 - first.min(end));
    let name = |line: String| line.split_whitespace().last().map(ToOwned::to_owned);
    lines.filter_map(|line| line.map(name).transpose()).map(|name| Ok(name?)).collect()
}

/// The outcomes of an earlier run.
fn read(path: &Path) -> Result<Vec<Found>, Failure> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let lines = BufReader::new(File::open(path)?).lines();
    lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

impl Pair {
    fn start(downloads: &Path) -> Result<Self, Failure> {
        let start = |tiers| Instance::start_with(&["--tiers", tiers], Some(downloads));
        Ok(Self { fresh: start("ssd")?, forking: start("paused,zygote,ssd")? })
    }

    fn compare(&self, distribution: &str, python: Option<&Path>) -> Result<Found, Failure> {
        let found = |verdict, details| {
            Ok(Found { distribution: distribution.to_owned(), verdict, details })
        };
        let mut add = vec!["env", "add", "same", distribution];
        if let Some(python) = python {
            add.extend(["--python", python.to_str().ok_or("the interpreter's path is not UTF-8")?]);
        }
        for instance in [&self.fresh, &self.forking] {
            if let Err(error) = instance.call(&add) {
                let why = error.to_string().chars().take(300).collect();
                return found(Verdict::Absent, vec![why]);
            }
        }
        let modules = modules(&self.fresh.view("same"), distribution)?;
        if modules.is_empty() {
            return found(Verdict::Absent, vec!["it has no module".to_owned()]);
        }
        let code = include_str!("same/prober.py").replace("{MODULES}", &json!(modules).to_string());
        for instance in [&self.fresh, &self.forking] {
            instance.deploy(
                "same",
                &code,
                &["--env", "same", "--timeout", "120", "--memory", "2G"],
            )?;
        }
        let fresh = [seen(&self.fresh)?.0, seen(&self.fresh)?.0];
        let mut forked = seen(&self.forking)?;
        for _ in 0..ROUNDS {
            if forked.1 == Tier::Zygote {
                break;
            }
            self.forking.await_zygotes()?;
            self.forking.evict_paused()?;
            forked = seen(&self.forking)?;
        }
        if forked.1 != Tier::Zygote {
            return found(Verdict::Unforked, vec![self.forking.explain("same")?]);
        }
        let differences = differences(&fresh, &forked.0);
        let verdict = if differences.is_empty() { Verdict::Same } else { Verdict::Different };
        found(verdict, differences)
    }
}

/// Everything that a process of the function has seen and printed, and the tier that its start found.
fn seen(instance: &Instance) -> Result<(Map<String, Value>, Tier), Failure> {
    let Invocation { outcome, result, error, tier, logs, .. } = instance.invoke("same")?.0;
    let mut seen = match (outcome, result) {
        (Outcome::Done, Some(result)) => serde_json::from_str(result.get())?,
        _ => {
            Map::from_iter([("failure".to_owned(), json!(error.map(|error| error.error_message)))])
        }
    };
    seen.insert("output".to_owned(), json!(logs));
    Ok((seen, tier))
}

/// Differences of a zygote's child from two interpreters, in the points that both interpreters agree on.
fn differences(fresh: &[Map<String, Value>; 2], forked: &Map<String, Value>) -> Vec<String> {
    let [first, second] = fresh.each_ref().map(flat);
    let forked = flat(forked);
    let names: BTreeSet<_> = first.keys().chain(forked.keys()).collect();
    let mut told = Vec::new();
    for name in names {
        let of =
            |side: &BTreeMap<String, BTreeSet<String>>| side.get(name).cloned().unwrap_or_default();
        if of(&first) != of(&second) {
            // Not the same for two interpreters either.
            continue;
        }
        let (plain, child) = (of(&first), of(&forked));
        let missing: Vec<_> = plain.difference(&child).take(SHOWN).cloned().collect();
        let more: Vec<_> = child.difference(&plain).take(SHOWN).cloned().collect();
        if !missing.is_empty() || !more.is_empty() {
            told.push(format!("{name}: lacks {missing:?}, has {more:?}"));
        }
    }
    told
}

/// Each seen value as a set of texts.
fn flat(seen: &Map<String, Value>) -> BTreeMap<String, BTreeSet<String>> {
    let texts = |value: &Value| match value {
        Value::Array(all) => all.iter().map(text).collect(),
        Value::Object(all) => all.iter().map(|(name, one)| format!("{name}={one}")).collect(),
        other => [text(other)].into(),
    };
    let mut flat = BTreeMap::new();
    for (name, value) in seen {
        match value {
            Value::Object(all) if all.values().all(Value::is_array) => {
                flat.extend(
                    all.iter().map(|(inner, one)| (format!("{name} of {inner}"), texts(one))),
                );
            }
            _ => {
                flat.insert(name.clone(), texts(value));
            }
        }
    }
    flat
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// Names of the modules to import of a distribution, by its list of files.
fn modules(view: &Path, distribution: &str) -> Result<Vec<String>, Failure> {
    let library =
        fs::read_dir(view.join("lib"))?.next().ok_or("the environment has no library")??;
    let packages = library.path().join("site-packages");
    let wanted =
        normalized(distribution.split(['[', '=', '<', '>', ' ']).next().unwrap_or_default());
    for entry in fs::read_dir(&packages)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(project) = name.strip_suffix(".dist-info").and_then(|name| name.split('-').next())
        else {
            continue;
        };
        if normalized(project) == wanted {
            let record = fs::read_to_string(packages.join(&name).join("RECORD"))?;
            let found: BTreeSet<_> = record.lines().filter_map(module).collect();
            return Ok(found.into_iter().collect());
        }
    }
    Ok(Vec::new())
}

/// The top-level module of a distribution's file, if the file is code.
fn module(line: &str) -> Option<String> {
    let path = line.trim_start_matches('"').split([',', '"']).next()?;
    let is_code = [".py", ".so"].iter().any(|ending| path.ends_with(ending));
    let top = path.split('/').next()?.split('.').next()?;
    let is_name = !top.is_empty() && top.chars().all(|one| one.is_alphanumeric() || one == '_');
    let is_aside = ["tests", "test", "docs", "examples", "__pycache__"].contains(&top);
    (is_code && is_name && !is_aside).then(|| top.to_owned())
}

fn normalized(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}
