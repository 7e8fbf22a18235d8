//! Progress of the job that fetches archives, as the job says it.

use std::collections::BTreeMap;

use crate::ingest::{Step, Unit};

/// Something that the job has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownloadEvent {
    /// An archive is being fetched, of so many bytes, where that is known.
    Begun(usize, u64),
    /// Bytes of an archive that are there.
    Had(usize, u64),
    /// The archive is there.
    Done(usize),
    /// The archive cannot be had.
    Failed(usize, String),
}

/// Reads a line; `None` if it says nothing.
pub fn read(line: &str) -> Option<DownloadEvent> {
    let (kind, rest) = line.split_once(' ')?;
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let number = number.parse().ok()?;
    match kind {
        "begun" => Some(DownloadEvent::Begun(number, rest.parse().ok()?)),
        "had" => Some(DownloadEvent::Had(number, rest.parse().ok()?)),
        "done" => Some(DownloadEvent::Done(number)),
        "failed" => Some(DownloadEvent::Failed(number, rest.to_owned())),
        _ => None,
    }
}

/// Progress of some downloads.
#[derive(Debug, Default)]
pub struct DownloadProgress {
    /// Downloads that are under way: sizes, and bytes that are there.
    under_way: BTreeMap<usize, (u64, u64)>,
    done: u64,
    total: u64,
}

impl DownloadProgress {
    /// Returns what is to be told after an event; `name` names a download.
    pub fn hear<'a>(&mut self, said: &DownloadEvent, name: impl Fn(usize) -> &'a str) -> Step {
        match *said {
            DownloadEvent::Begun(number, size) => {
                // One that begins again has been told of.
                if self.under_way.insert(number, (size, 0)).is_none() {
                    self.total += size;
                }
            }
            DownloadEvent::Had(number, bytes) => {
                if let Some((_, had)) = self.under_way.get_mut(&number) {
                    *had = bytes;
                }
            }
            DownloadEvent::Done(number) | DownloadEvent::Failed(number, _) => {
                self.done += self.under_way.remove(&number).map_or(0, |(size, _)| size);
            }
        }
        let step = match self.under_way.keys().next() {
            Some(first) if self.under_way.len() == 1 => format!("downloading {}", name(*first)),
            Some(first) => {
                format!("downloading {} and {} more", name(*first), self.under_way.len() - 1)
            }
            None => "downloading".to_owned(),
        };
        let had: u64 = self.under_way.values().map(|(_, had)| had).sum();
        Step { step, done: self.done + had, total: self.total, unit: Unit::Bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_are_told_by_bytes() {
        let said = "begun 0 100\nnonsense\nbegun 1 50\nhad 0 40\ndone 1\nbegun x 1\nbegun 0 100\n\
            failed 0 HTTP Error 404: Not Found\n";
        let mut heard = DownloadProgress::default();
        let name = |number| ["pandas", "numpy"][number];
        let said: Vec<_> = said.lines().filter_map(read).collect();
        let steps: Vec<_> = said
            .iter()
            .map(|said| heard.hear(said, name))
            .map(|step| (step.step, step.done, step.total))
            .collect();
        let expected = [
            ("downloading pandas", 0, 100),
            ("downloading pandas and 1 more", 0, 150),
            ("downloading pandas and 1 more", 40, 150),
            ("downloading pandas", 90, 150),
            ("downloading pandas", 50, 150),
            ("downloading", 150, 150),
        ];
        assert_eq!(steps, expected.map(|(step, done, total)| (step.to_owned(), done, total)));
        assert_eq!(
            said.last(),
            Some(&DownloadEvent::Failed(0, "HTTP Error 404: Not Found".to_owned()))
        );
    }
}
