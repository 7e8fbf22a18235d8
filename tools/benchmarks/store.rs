//! Disk use of many environments of popular packages in three versions each, compared with the
//! alternatives: a virtual environment each, hard links to uv's cache, an image each.
//!
//! All sides hold bytecode. Copies are not made: a copy of a file takes as many blocks as the file,
//! so that the trees with hard links show both.

use std::path::Path;
use std::time::Instant;

use crate::Failure;
use crate::disk::usage;
use crate::image::squashfs;
use crate::instance::{Instance, succeed, uv};
use crate::report::Row;
use crate::statistics::Random;

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Number of environments
    #[arg(long, default_value_t = 20)]
    environments: usize,
    /// Number of packages in each environment
    #[arg(long, default_value_t = 15)]
    each: usize,
    /// Seed of the choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Popular packages, each in three versions; those of one column fit together.
const PACKAGES: [(&str, [&str; 3]); 30] = [
    ("numpy", ["1.26.4", "2.1.3", "2.2.6"]),
    ("pandas", ["2.1.4", "2.2.2", "2.2.3"]),
    ("scipy", ["1.12.0", "1.14.1", "1.15.3"]),
    ("scikit-learn", ["1.4.2", "1.5.2", "1.6.1"]),
    ("matplotlib", ["3.8.4", "3.9.4", "3.10.3"]),
    ("pillow", ["10.3.0", "11.0.0", "11.2.1"]),
    ("requests", ["2.31.0", "2.32.2", "2.32.3"]),
    ("urllib3", ["2.0.7", "2.2.2", "2.2.3"]),
    ("certifi", ["2024.2.2", "2024.8.30", "2025.1.31"]),
    ("charset-normalizer", ["3.3.2", "3.4.0", "3.4.1"]),
    ("idna", ["3.7", "3.8", "3.10"]),
    ("boto3", ["1.34.100", "1.35.50", "1.36.20"]),
    ("flask", ["3.0.3", "3.1.0", "3.1.1"]),
    ("werkzeug", ["3.0.3", "3.1.2", "3.1.3"]),
    ("jinja2", ["3.1.3", "3.1.4", "3.1.6"]),
    ("click", ["8.1.7", "8.1.8", "8.2.1"]),
    ("django", ["4.2.13", "5.0.9", "5.1.6"]),
    ("fastapi", ["0.110.3", "0.115.4", "0.115.12"]),
    ("pydantic", ["2.7.1", "2.9.2", "2.11.5"]),
    ("sqlalchemy", ["2.0.30", "2.0.36", "2.0.41"]),
    ("aiohttp", ["3.9.5", "3.10.10", "3.11.18"]),
    ("cryptography", ["42.0.8", "43.0.3", "44.0.2"]),
    ("grpcio", ["1.63.0", "1.67.1", "1.71.0"]),
    ("protobuf", ["4.25.3", "5.28.3", "5.29.4"]),
    ("lxml", ["5.2.2", "5.3.0", "5.3.2"]),
    ("pyyaml", ["6.0.1", "6.0.2", "6.0.3"]),
    ("networkx", ["3.2.1", "3.3", "3.4.2"]),
    ("sympy", ["1.12.1", "1.13.1", "1.13.3"]),
    ("pytest", ["8.2.2", "8.3.3", "8.3.5"]),
    ("rich", ["13.7.1", "13.9.3", "14.0.0"]),
];

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let environments = choose(flags);
    let folder = tempfile::Builder::new().prefix("pipsqueak-bench-").tempdir()?;
    let (downloads, cache) = (folder.path().join("downloads"), folder.path().join("cache"));
    let ours = ours(&environments, &downloads)?;

    // What was downloaded is not downloaded again, but in a cache of its own user.
    succeed(
        std::process::Command::new("cp")
            .args(["-r", "--no-preserve=ownership"])
            .arg(downloads.join("uv"))
            .arg(&cache),
    )?;
    let (mut copies, mut links, mut images) = (0, 0, 0);
    for (number, packages) in environments.iter().enumerate() {
        let tree = folder.path().join("tree");
        install(&tree, &cache, packages)?;
        let used = usage(&tree)?;
        copies += used.all;
        links += used.own;
        let image = folder.path().join("image");
        squashfs(&tree, &image)?;
        images += usage(&image)?.all;
        eprintln!("environment {number}: {:.0} MiB", mebibytes(used.all));
        std::fs::remove_dir_all(&tree)?;
        std::fs::remove_file(&image)?;
    }
    let cached = usage(&cache)?.all;
    eprintln!(
        "uv's cache: {:.0} MiB; ours keeps the downloads of one too, until it is removed",
        mebibytes(cached)
    );
    let row = |name, floor, budget| {
        Row::new(name, "MiB", mebibytes(floor), mebibytes(ours), Some(budget))
    };
    Ok(vec![
        row("store / copies", copies, 0.1),
        row("store / uv's cache and hard links", cached + links, 0.4),
        row("store / squashfs each", images, 0.3),
    ])
}

/// The packages of each environment.
fn choose(flags: &Flags) -> Vec<Vec<String>> {
    let mut random = Random::new(flags.seed);
    let each = |number: usize| {
        let mut ranked: Vec<_> = PACKAGES.iter().map(|package| (random.unit(), package)).collect();
        ranked.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let chosen = ranked.into_iter().take(flags.each);
        chosen.map(|(_, (name, versions))| format!("{name}=={}", versions[number % 3])).collect()
    };
    (0..flags.environments).map(each).collect()
}

/// Adds all environments; returns the disk use of store, catalog and views.
fn ours(environments: &[Vec<String>], downloads: &Path) -> Result<u64, Failure> {
    let instance = Instance::start_with(&["--tiers", "ssd"], Some(downloads))?;
    for (number, packages) in environments.iter().enumerate() {
        let name = format!("e{number}");
        let mut arguments = vec!["env", "add", &name];
        arguments.extend(packages.iter().map(String::as_str));
        let began = Instant::now();
        instance.call(&arguments)?;
        let left = environments.len() - number - 1;
        eprintln!("{name} added in {:.0} s, {left} to go", began.elapsed().as_secs_f64());
    }
    let kept = std::fs::read_dir(instance.state())?.map(|entry| {
        let entry = entry?;
        // What the last addition has used may just be being removed.
        if entry.file_name() == "staging" {
            return Ok(0);
        }
        Ok(usage(&entry.path())?.all)
    });
    kept.sum()
}

fn install(tree: &Path, cache: &Path, packages: &[String]) -> Result<(), Failure> {
    succeed(uv(cache).args(["venv", "--python", "python3"]).arg(tree))?;
    let mut install = uv(cache);
    install.args(["pip", "install", "--compile-bytecode", "--link-mode", "hardlink", "--python"]);
    succeed(install.arg(tree.join("bin/python")).args(packages))
}

#[expect(clippy::cast_precision_loss, reason = "less than 2^52 bytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
