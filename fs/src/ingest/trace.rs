//! Recording what imports read, once, when distributions are stored: where their contents lie in
//! that order, a cold import reads the disk from front to back, and can be read ahead of.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::FIXED_PREFIX;
use crate::ingest::confine::{Bind, Confine, Input, Job, Stop};
use crate::interpreter::Interpreter;
use crate::trace::Trace;

/// Imports modules in the order they are named, and tells of each file.
const TRACER: &str = include_str!("trace.py");
/// No further module is imported after so many seconds.
const ENOUGH_SECONDS: u32 = 20;
/// Longest time in which modules are imported.
const PATIENCE: Duration = Duration::from_secs(60);
/// Folder of the distributions that are stored already, as a job sees it.
const BESIDE_INSIDE: &str = "/pipsqueak/beside";
/// Distributions beside those that are traced, at most: each is a bind, and a job has room for so many.
const MOST_BESIDE: usize = 200;
/// Folder in which a job finds what it is to import.
const WORK_INSIDE: &str = "/pipsqueak/work";
/// Folders of the system's libraries, besides the interpreter's own.
const LIBRARIES: [&str; 3] = ["/usr/lib", "/lib", "/lib64"];

/// Modules to import.
#[derive(Debug, Default)]
pub struct TraceRequest {
    /// Modules, in order.
    pub modules: Vec<String>,
    /// Packages whose public subpackages are imported after them.
    pub explored: Vec<String>,
}

/// Imports that were seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// Files of the environment, from its root, in the order in which they were read.
    pub order: Vec<String>,
    /// Trace of these files and of all else that was read, by module.
    pub trace: Trace,
}

/// Records what importing from `staging` reads, an environment of `interpreter`; nothing if importing
/// fails: it is there for speed alone.
///
/// `beside` are the roots of distributions that the staged ones need and that are not among them;
/// `work` is a folder for inputs of this use alone.
pub fn trace_imports(
    confine: &dyn Confine,
    staging: &Path,
    beside: &[PathBuf],
    work: &Path,
    interpreter: &Interpreter,
    (wanted, stop): (&TraceRequest, &Stop),
) -> Traced {
    if wanted.modules.is_empty() {
        return Traced::default();
    }
    let beside = beside.get(..MOST_BESIDE).unwrap_or(beside);
    let input = input(wanted, beside.len(), &interpreter.site_packages());
    if let Err(error) = std::fs::write(work.join("trace"), input) {
        tracing::warn!(%error, "not tracing what imports read");
        return Traced::default();
    }
    let job = job(staging, beside, work, stop);
    match confine.run(&job) {
        Ok(output) if output.status == 0 => {
            parse(&String::from_utf8_lossy(&output.stdout), &interpreter.base_prefix)
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            tracing::warn!(status = output.status, said = said.trim(), "{}", job.label);
            Traced::default()
        }
        Err(error) => {
            tracing::warn!(%error, "imports are not traced");
            Traced::default()
        }
    }
}

/// Root of a distribution that is stored already, as the job sees it.
fn beside_inside(number: usize) -> String {
    format!("{BESIDE_INSIDE}/{number}")
}

/// Input of the tracer: modules, and where further ones are.
fn input(wanted: &TraceRequest, beside: usize, site_packages: &str) -> String {
    let mut input = String::new();
    let mut line = |kind, name: &str| {
        let _ = writeln!(input, "{kind}\t{name}");
    };
    wanted.modules.iter().for_each(|name| line("module", name));
    wanted.explored.iter().for_each(|name| line("explored", name));
    for number in 0..beside {
        line("beside", &format!("{}/{site_packages}", beside_inside(number)));
    }
    input
}

fn job(staging: &Path, beside: &[PathBuf], work: &Path, stop: &Stop) -> Job {
    let bind = |host: &Path, inside: String| Bind {
        host: host.to_owned(),
        inside: inside.into(),
        writable: false,
    };
    let mut binds =
        vec![bind(staging, FIXED_PREFIX.to_owned()), bind(work, WORK_INSIDE.to_owned())];
    binds.extend(beside.iter().enumerate().map(|(number, root)| bind(root, beside_inside(number))));
    let argv = [
        &format!("{FIXED_PREFIX}/bin/python"),
        "-I",
        "-c",
        TRACER,
        &ENOUGH_SECONDS.to_string(),
        &format!("{WORK_INSIDE}/trace"),
    ];
    Job {
        label: "tracing what imports read".to_owned(),
        argv: argv.iter().map(OsString::from).collect(),
        variables: [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8")]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        binds,
        network: None,
        input: Input::default(),
        directory: "/tmp".into(),
        timeout: PATIENCE,
        stop: stop.clone(),
    }
}

/// Reads what the tracer has printed, in the same process as package code: any of it may be made up.
fn parse(text: &str, base_prefix: &Path) -> Traced {
    let mut traced = Traced::default();
    let (mut read, mut needed) = (BTreeSet::new(), BTreeSet::new());
    let modules = &mut traced.trace.modules;
    for line in text.lines() {
        let [kind, name, rest] = line.splitn(3, '\t').collect::<Vec<_>>()[..] else { continue };
        match kind {
            "suffix" => traced.trace.suffixes.push(rest.to_owned()),
            "need" if needed.insert((name, rest)) => {
                modules.entry(name.to_owned()).or_default().needs.push(rest.to_owned());
            }
            "folder" => {
                if let (Some(path), Some(module)) = (inside(rest), modules.get_mut(name)) {
                    module.folder.get_or_insert_with(|| path.to_owned());
                }
            }
            "read" => {
                let path = match inside(rest) {
                    Some(path) => {
                        traced.order.push(path.to_owned());
                        path
                    }
                    None if is_of_interpreter(rest, base_prefix) => rest,
                    None => continue,
                };
                if read.insert((name, path)) {
                    modules.entry(name.to_owned()).or_default().reads.push(path.to_owned());
                }
            }
            _ => {}
        }
    }
    traced
}

/// A path in the environment, or in a distribution beside it, from its root.
fn inside(path: &str) -> Option<&str> {
    let beside = || path.strip_prefix(BESIDE_INSIDE)?.strip_prefix('/')?.split_once('/');
    let own = path.strip_prefix(FIXED_PREFIX).and_then(|path| path.strip_prefix('/'));
    own.or_else(|| beside().map(|(_, path)| path)).filter(|path| is_plain(path))
}

fn is_of_interpreter(path: &str, base_prefix: &Path) -> bool {
    let roots = LIBRARIES.iter().map(Path::new).chain([base_prefix]);
    let mut roots = roots.filter(|root| root.parent().is_some());
    is_plain(path) && roots.any(|root| Path::new(path).starts_with(root))
}

fn is_plain(path: &str) -> bool {
    !path.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_sorted_by_module_and_what_lies_elsewhere_is_left_out() {
        let text = "suffix\t\t.so\n\
            read\ta\t/pipsqueak/env/lib/a/__init__.pyc\n\
            read\tb\t/pipsqueak/beside/3/lib/b.pyc\n\
            read\ta\t/etc/passwd\n\
            read\ta\t/opt/python/../../etc/shadow\n\
            read\ta\t/pipsqueak/env/../../etc/shadow\n\
            read\tjson\t/opt/python/lib/json.pyc\n\
            read\ta\t/pipsqueak/env/lib/a/__init__.pyc\n\
            need\ta\tb\nneed\ta\tb\nneed\ta\tjson\n\
            folder\ta\t/pipsqueak/env/lib/a\nfolder\tjson\t/opt/python/lib/json\n\
            nonsense\nread\t\n";
        let Traced { order, trace } = parse(text, Path::new("/opt/python"));
        assert_eq!(order[..2], ["lib/a/__init__.pyc", "lib/b.pyc"]);
        let a = &trace.modules["a"];
        assert_eq!(
            (&a.reads[..], &a.needs[..]),
            (&order[..1], &["b".to_owned(), "json".into()][..])
        );
        assert_eq!(a.folder.as_deref(), Some("lib/a"));
        assert_eq!(trace.modules["json"].reads, ["/opt/python/lib/json.pyc"]);
        assert_eq!(trace.modules["json"].folder, None);
        assert_eq!(trace.suffixes, [".so"]);
    }
}
