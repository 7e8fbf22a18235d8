//! A warm import from the mount, compared with one of the same files in an ordinary folder.

use crate::Failure;
use crate::report::{Better, Row};
use crate::sides::{IMPORTS, Sides, import};
use crate::statistics::median;

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Imports on each side
    #[arg(long, default_value_t = 20)]
    rounds: usize,
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let sides = Sides::prepare(&IMPORTS.map(|(package, _)| package))?;
    let mut rows = Vec::new();
    for (_, module) in IMPORTS {
        let (mut folder, mut mount) = (Vec::new(), Vec::new());
        // The first of each warms.
        import(sides.copied(), module)?;
        import(sides.mounted(), module)?;
        for _ in 0..flags.rounds {
            folder.push(import(sides.copied(), module)?);
            mount.push(import(sides.mounted(), module)?);
        }
        let (floor, ours) = (median(&folder), median(&mount));
        rows.push(Row::milliseconds(&format!("import {module}"), floor, ours, 1.05, Better::Lower));
    }
    Ok(rows)
}
