//! A new function with a spare, from the request to the first line of its handler, compared with a
//! bare fork of an interpreter with the same packages, and with their import.

use crate::Failure;
use crate::report::{Better, Row};
use crate::statistics::{median, percentile};
use crate::zygote::{self, Flags, Measured};

/// Longest time of a start, in milliseconds.
const LIMIT: f64 = 1.5;

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let Measured { forks, starts, answers, imports } = zygote::measure(flags, 8)?;
    let p99 = |values: &[f64]| percentile(values, 0.99);
    let (fork, start, import) = (median(&forks), median(&starts), median(&imports));
    Ok(vec![
        Row::milliseconds("spare / fork p50", fork, start, 1.0, Better::Lower),
        Row::new("spare / fork p99", "ms", p99(&forks), p99(&starts), None),
        Row::milliseconds("spare / limit p50", LIMIT, start, 1.0, Better::Lower),
        Row::new("answer / fork p50", "ms", fork, median(&answers), None),
        Row::milliseconds("plain import / spare", start, import, 50.0, Better::Higher),
    ])
}
