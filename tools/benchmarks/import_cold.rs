//! A cold import from the mount, compared with one of the same files in an ordinary folder. No
//! cache holds any of the files, and the server of the mount is new.

use crate::Failure;
use crate::report::{Better, Row};
use crate::sides::{IMPORTS, Sides, drop_caches, import};
use crate::statistics::median;
use crate::throttle::Throttle;

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Imports on each side
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// Only this module; may be given several times
    #[arg(long)]
    module: Vec<String>,
    /// Only with the disk as it is, or only throttled
    #[arg(long, value_enum)]
    disk: Option<Disk>,
    /// Most bytes a second of the throttled disk
    #[arg(long, default_value_t = 125_000_000)]
    bytes: u64,
    /// Most reads a second of the throttled disk
    #[arg(long, default_value_t = 3000)]
    reads: u64,
}

/// The disk to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Disk {
    /// The disk as it is.
    Plain,
    /// A disk throttled to the speed of a small cloud volume.
    Throttled,
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let sides = Sides::prepare(&IMPORTS.map(|(package, _)| package))?;
    let mut rows = Vec::new();
    if flags.disk != Some(Disk::Throttled) {
        for module in modules(flags) {
            let (floor, ours) = compare(&sides, module, flags.rounds, || Ok(()))?;
            let name = format!("import {module}, cold");
            rows.push(Row::milliseconds(&name, floor, ours, 1.0, Better::Lower));
        }
    }
    if flags.disk != Some(Disk::Plain) {
        let throttle = Throttle::new(sides.instance.folder(), flags.bytes, flags.reads)?;
        let mut product = 1.0;
        let mut count = 0;
        for module in modules(flags) {
            let throttled =
                || sides.instance.servers()?.into_iter().try_for_each(|p| throttle.add(p));
            let (floor, ours) = compare(&sides, module, flags.rounds, throttled)?;
            let name = format!("import {module}, cold, throttled");
            rows.push(Row::milliseconds(&name, floor, ours, 0.8, Better::Lower));
            product *= ours / floor;
            count += 1;
        }
        let mean = product.powf(1.0 / f64::from(count.max(1)));
        rows.push(Row::new("geometric mean, cold, throttled", "x", 1.0, mean, Some(0.6)));
    }
    Ok(rows)
}

fn modules(flags: &Flags) -> Vec<&str> {
    let known = IMPORTS.map(|(_, module)| module);
    let chosen =
        |module: &&str| flags.module.is_empty() || flags.module.iter().any(|m| m == module);
    known.into_iter().filter(chosen).collect()
}

/// Medians of both sides. `before` is called for each new server.
fn compare(
    sides: &Sides,
    module: &str,
    rounds: usize,
    before: impl Fn() -> Result<(), Failure>,
) -> Result<(f64, f64), Failure> {
    let (mut folder, mut mount) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        sides.restart_server()?;
        before()?;
        drop_caches()?;
        folder.push(import(sides.copied(), module)?);
        drop_caches()?;
        mount.push(import(sides.mounted(), module)?);
    }
    Ok((median(&folder), median(&mount)))
}
