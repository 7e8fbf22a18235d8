//! Addition of an environment, compared with `uv pip install --compile-bytecode` into an empty
//! folder. Both have the downloads already. uv makes hard links to its cache, which is its default.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::Failure;
use crate::instance::{Instance, milliseconds, succeed, uv};
use crate::report::{Better, Row};
use crate::statistics::median;

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Packages to install
    #[arg(
        long,
        num_args = 1..,
        default_values_t = ["requests", "flask", "numpy", "pandas", "boto3", "scikit-learn"]
            .map(ToOwned::to_owned)
    )]
    packages: Vec<String>,
    /// Measurements of each side
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let folder = tempfile::Builder::new().prefix("pipsqueak-bench-").tempdir()?;
    let (downloads, links) = (folder.path().join("downloads"), folder.path().join("links"));
    // Each side's own, so that neither finds files that belong to the other's user.
    add(&flags.packages, &downloads)?;
    install(&flags.packages, folder.path(), &links)?;
    let (mut floors, mut news, mut storeds) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..flags.rounds {
        floors.push(install(&flags.packages, folder.path(), &links)?);
        let (new, stored) = add(&flags.packages, &downloads)?;
        eprintln!("round {round}: uv {:.0}, new {new:.0}, stored {stored:.0} ms", floors[round]);
        news.push(new);
        storeds.push(stored);
    }
    let (floor, new, stored) = (median(&floors), median(&news), median(&storeds));
    Ok(vec![
        Row::milliseconds("env add, downloads cached / uv", floor, new, 1.5, Better::Lower),
        Row::milliseconds("env add, stored already / uv", floor, stored, 0.2, Better::Lower),
    ])
}

/// Adds an environment to an empty store, then another of the same packages; returns the
/// milliseconds of each.
fn add(packages: &[String], downloads: &Path) -> Result<(f64, f64), Failure> {
    let instance = Instance::start_with(&["--tiers", "ssd"], Some(downloads))?;
    let time = |name| -> Result<f64, Failure> {
        let mut arguments = vec!["env", "add", name];
        arguments.extend(packages.iter().map(String::as_str));
        let began = Instant::now();
        instance.call(&arguments)?;
        Ok(milliseconds(began.elapsed()))
    };
    Ok((time("new")?, time("stored")?))
}

/// Installs into an empty folder; returns the milliseconds.
fn install(packages: &[String], folder: &Path, downloads: &Path) -> Result<f64, Failure> {
    let target = folder.join("target");
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    let mut command = uv(downloads);
    command.args(["pip", "install", "--compile-bytecode", "--link-mode", "hardlink"]);
    command.arg("--python").arg("python3").arg("--target").arg(&target).args(packages);
    let began = Instant::now();
    succeed(&mut command)?;
    Ok(milliseconds(began.elapsed()))
}
