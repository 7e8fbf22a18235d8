//! The order in which imports read files, recorded once, when distributions are stored: where
//! their contents lie in that order, a cold import reads the disk from front to back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::confine::{Bind, Confine, Job};
use crate::FIXED_PREFIX;

/// Imports modules in the order they are named, and tells of each file.
const TRACER: &str = include_str!("trace.py");
/// No further module is imported after so many seconds.
const ENOUGH_SECONDS: u32 = 20;
/// When a module that is being imported is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where a job sees the folders of distributions that are stored already.
const BESIDE_INSIDE: &str = "/pipsqueak/beside";
/// Where a job finds what it is to import.
const WORK_INSIDE: &str = "/pipsqueak/work";

/// What is imported.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Modules, in order.
    pub modules: Vec<String>,
    /// Packages whose public subpackages are imported after them.
    pub explored: Vec<String>,
}

/// Files below `staging`, an environment with its packages at `site_packages`, that importing
/// reads, in order, relative to it. None where importing fails: it is there for speed alone.
///
/// `beside` are the roots of distributions that the staged ones need and that are not among them;
/// `work` is a folder for inputs of this use alone.
pub fn record(
    confine: &dyn Confine,
    staging: &Path,
    beside: &[PathBuf],
    work: &Path,
    site_packages: &str,
    wanted: &Wanted,
) -> Vec<String> {
    if wanted.modules.is_empty() {
        return Vec::new();
    }
    let inside = |number: usize| format!("{BESIDE_INSIDE}/{number}");
    let bind = |host: &Path, inside: String| Bind {
        host: host.to_owned(),
        inside: inside.into(),
        writable: false,
    };
    let mut binds =
        vec![bind(staging, FIXED_PREFIX.to_owned()), bind(work, WORK_INSIDE.to_owned())];
    binds.extend(beside.iter().enumerate().map(|(number, root)| bind(root, inside(number))));
    let sites: Vec<_> =
        (0..beside.len()).map(|number| format!("{}/{site_packages}", inside(number))).collect();
    let input = serde_json::json!({
        "modules": wanted.modules,
        "explored": wanted.explored,
        "beside": sites,
    });
    if let Err(error) = std::fs::write(work.join("trace.json"), input.to_string()) {
        tracing::warn!(%error, "not tracing what imports read");
        return Vec::new();
    }
    let argv = [
        &format!("{FIXED_PREFIX}/bin/python"),
        "-I",
        "-c",
        TRACER,
        &format!("{FIXED_PREFIX}/"),
        &ENOUGH_SECONDS.to_string(),
        &format!("{WORK_INSIDE}/trace.json"),
    ];
    let job = Job {
        label: "tracing what imports read".to_owned(),
        argv: argv.iter().map(OsString::from).collect(),
        variables: [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8")]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        binds,
        network: false,
        directory: "/tmp".into(),
        timeout: PATIENCE,
    };
    match confine.run(&job) {
        Ok(output) if output.status == 0 => {
            String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned).collect()
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            tracing::warn!(status = output.status, said = said.trim(), "{}", job.label);
            Vec::new()
        }
        Err(error) => {
            tracing::warn!(%error, "imports are not traced");
            Vec::new()
        }
    }
}
