//! What uv says while it installs, as progress. It tells of each download of a megabyte and more
//! when it begins and when it is done, and then how many distributions there are.

use std::collections::BTreeMap;

use super::{Step, Unit};

/// How far an installation is, from the lines that uv writes to stderr.
#[derive(Debug)]
pub struct Heard {
    distributions: u64,
    /// Downloads that are under way, by name, with their sizes in bytes.
    under_way: BTreeMap<String, u64>,
    done: u64,
    total: u64,
}

impl Heard {
    /// Of so many distributions.
    pub fn of(distributions: u64) -> Self {
        Self { distributions, under_way: BTreeMap::new(), done: 0, total: 0 }
    }

    /// What a line says of it; none where it says nothing.
    pub fn line(&mut self, line: &str) -> Option<Step> {
        let mut words = line.split_whitespace();
        match (words.next()?, words.next()?) {
            ("Downloading", name) => {
                let size = size(words.next()?)?;
                self.under_way.insert(name.to_owned(), size);
                self.total += size;
            }
            ("Downloaded", name) => self.done += self.under_way.remove(name)?,
            ("Prepared", _) => return Some(self.installing(0)),
            ("Installed", _) => return Some(self.installing(self.distributions)),
            _ => return None,
        }
        let step = match self.under_way.keys().next() {
            Some(name) if self.under_way.len() == 1 => format!("downloading {name}"),
            Some(name) => format!("downloading {name} and {} more", self.under_way.len() - 1),
            None => "downloading".to_owned(),
        };
        Some(Step { step, done: self.done, total: self.total, unit: Unit::Bytes })
    }

    fn installing(&self, done: u64) -> Step {
        let total = self.distributions;
        let step = format!("installing {total} distributions");
        Step { step, done, total, unit: Unit::Things }
    }
}

/// The bytes of a size such as `(11.8MiB)`.
fn size(text: &str) -> Option<u64> {
    let text = text.strip_prefix('(')?.strip_suffix("iB)")?;
    let (number, shift) = match text.split_at_checked(text.len().checked_sub(1)?)? {
        (number, "K") => (number, 10),
        (number, "M") => (number, 20),
        (number, "G") => (number, 30),
        _ => return None,
    };
    let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
    let tenths: u64 = tenths.get(..1)?.parse().ok()?;
    let whole: u64 = whole.parse().ok().filter(|whole| *whole < 1 << 20)?;
    Some(((whole * 10 + tenths) << shift) / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_are_told_by_bytes_and_installing_by_distributions() {
        let said = "Using Python 3.11.7 environment at: /pipsqueak/env\n\
            Resolved 4 packages in 206ms\nDownloading pandas (11.8MiB)\nDownloading numpy (16.0MiB)\n \
            Downloaded pandas\n Downloaded numpy\nPrepared 4 packages in 832ms\n\
            Installed 4 packages in 44ms\n + numpy==2.4.6\nDownloading\nDownloading x (manyMiB)\n \
            Downloaded other\n";
        let mut heard = Heard::of(4);
        let steps: Vec<_> = said.lines().filter_map(|line| heard.line(line)).collect();
        let (pandas, numpy) = ((118 << 20) / 10, 16 << 20);
        let both = pandas + numpy;
        let bytes = |step: &str, done, total| Step {
            step: step.to_owned(),
            done,
            total,
            unit: Unit::Bytes,
        };
        let installing = |done| Step {
            step: "installing 4 distributions".to_owned(),
            done,
            total: 4,
            unit: Unit::Things,
        };
        let expected = [
            bytes("downloading pandas", 0, pandas),
            bytes("downloading numpy and 1 more", 0, both),
            bytes("downloading numpy", pandas, both),
            bytes("downloading", both, both),
            installing(0),
            installing(4),
        ];
        assert_eq!(steps, expected);
    }
}
