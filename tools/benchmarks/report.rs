//! Figures, for people and for programs.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::Failure;

/// The direction in which a figure improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The budget is a ceiling of the ratio.
    Lower,
    /// The budget is a floor of the ratio.
    Higher,
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The measured quantity.
    pub name: String,
    /// Unit of floor and ours.
    pub unit: &'static str,
    /// The figure to compare with.
    pub floor: f64,
    /// Our figure.
    pub ours: f64,
    /// Ours divided by floor.
    pub ratio: f64,
    /// The bound of the ratio; absent for figures without one.
    pub budget: Option<f64>,
    /// The direction in which the figure improves.
    pub better: Better,
}

impl Row {
    /// A figure in milliseconds.
    pub fn milliseconds(name: &str, floor: f64, ours: f64, budget: f64, better: Better) -> Self {
        Self { better, ..Self::new(name, "ms", floor, ours, Some(budget)) }
    }

    /// A figure of which less is better.
    pub fn new(name: &str, unit: &'static str, floor: f64, ours: f64, budget: Option<f64>) -> Self {
        let (ratio, better) = (ours / floor, Better::Lower);
        Self { name: name.to_owned(), unit, floor, ours, ratio, budget, better }
    }

    /// The budget and its verdict, in words.
    fn verdict(&self) -> (String, &'static str) {
        let Some(budget) = self.budget else { return ("–".to_owned(), "") };
        let (sign, is_kept) = match self.better {
            Better::Lower => ("≤", self.ratio <= budget),
            Better::Higher => ("≥", self.ratio >= budget),
        };
        (format!("{sign} {budget}x"), if is_kept { "kept" } else { "missed" })
    }
}

/// Prints figures as a table.
pub fn print(rows: &[Row]) {
    println!("\n| figure | floor | ours | ratio | budget | |\n|---|---|---|---|---|---|");
    for row in rows {
        let (budget, kept) = row.verdict();
        println!(
            "| {} | {:.3} {unit} | {:.3} {unit} | {:.4}x | {budget} | {kept} |",
            row.name,
            row.floor,
            row.ours,
            row.ratio,
            unit = row.unit
        );
    }
}

/// Writes figures as JSON, a line each.
pub fn write(rows: &[Row], path: &Path) -> Result<(), Failure> {
    let mut file = std::fs::File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
    for row in rows {
        writeln!(file, "{}", serde_json::to_string(row)?)?;
    }
    Ok(())
}
