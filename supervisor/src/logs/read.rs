//! Reader of a log's files while they are written to.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use pipsqueak::wire::LogRecord;

use super::{Log, files};

/// Most bytes of a file that are read at once. No record is longer.
const PIECE: u64 = 256 << 10;

/// Choice of records.
#[derive(Debug, Default)]
pub struct Selection {
    /// Earliest time of wanted records, in the form that records have.
    pub since: Option<String>,
    /// Invocation whose records are wanted.
    pub request: Option<String>,
}

/// Position of a reader in a log.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    selection: Selection,
    number: u64,
    offset: u64,
}

impl Reader {
    /// A reader at the oldest record.
    pub fn new(log: &Arc<Log>, selection: Selection) -> Self {
        Self { log: log.clone(), selection, number: 0, offset: 0 }
    }

    /// The log that is read.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Reads on. Returns the wanted records of the next piece, perhaps none; `None` at the end of the
    /// log. Blocks.
    pub fn read(&mut self) -> io::Result<Option<Vec<LogRecord>>> {
        loop {
            let found = files::list(&self.log.folder);
            let Some(file) = found.iter().find(|file| file.number >= self.number) else {
                return Ok(None);
            };
            if file.number != self.number {
                (self.number, self.offset) = (file.number, 0);
            }
            let piece = match self.piece() {
                // The oldest file was removed just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            if let Some(end) = piece.iter().rposition(|byte| *byte == b'\n') {
                self.offset += end as u64 + 1;
                let lines = piece[..end].split(|byte| *byte == b'\n');
                return Ok(Some(lines.filter_map(|line| self.wanted(line)).collect()));
            }
            if piece.len() as u64 == PIECE {
                // A line as long as this is no record, and is skipped.
                self.offset += PIECE;
                continue;
            }
            if !found.iter().any(|file| file.number > self.number) {
                return Ok(None);
            }
            // This file gets no more lines, because there is a later one.
            self.number += 1;
            self.offset = 0;
        }
    }

    /// Reads to the end of the log; returns the last `most` wanted records. Blocks.
    pub fn last(&mut self, most: usize) -> io::Result<Vec<LogRecord>> {
        let mut last = VecDeque::new();
        while let Some(records) = self.read()? {
            last.extend(records);
            last.drain(..last.len().saturating_sub(most));
        }
        Ok(last.into())
    }

    fn piece(&self) -> io::Result<Vec<u8>> {
        let mut file = File::open(files::path(&self.log.folder, self.number))?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut piece = Vec::new();
        file.take(PIECE).read_to_end(&mut piece)?;
        Ok(piece)
    }

    /// The record of a line; `None` if the line is no record or is not wanted.
    fn wanted(&self, line: &[u8]) -> Option<LogRecord> {
        let record: LogRecord = serde_json::from_slice(line).ok()?;
        let Selection { since, request } = &self.selection;
        let is_new = since.as_ref().is_none_or(|since| record.time >= *since);
        (is_new && request.as_ref().is_none_or(|request| record.request == *request))
            .then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pipsqueak::wire::LogSource;

    use super::*;

    fn record(time: &str, request: &str, text: &str) -> LogRecord {
        let (time, request, text) = (time.to_owned(), request.to_owned(), text.to_owned());
        LogRecord { time, request, source: LogSource::Function, text }
    }

    fn texts(records: Vec<LogRecord>) -> String {
        records.into_iter().map(|record| record.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_wanted_is_read_on_from_file_to_file() {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::new(folder.path().into(), 1 << 20));
        let write = |number: u64, records: &[LogRecord], rest: &str| {
            let lines = records.iter().map(|r| serde_json::to_string(r).unwrap() + "\n");
            let text = lines.collect::<String>() + rest;
            fs::write(files::path(folder.path(), number), text).unwrap();
        };
        assert!(Reader::new(&log, Selection::default()).read().unwrap().is_none());
        let (a, b, c) = (record("1", "x", "a"), record("2", "y", "b"), record("3", "x", "c"));
        write(4, &[a.clone(), b.clone()], "{\"torn");
        let mut reader = Reader::new(&log, Selection::default());
        assert_eq!(texts(reader.read().unwrap().unwrap()), "a b");
        assert!(reader.read().unwrap().is_none());
        write(5, std::slice::from_ref(&c), "");
        assert_eq!(texts(reader.read().unwrap().unwrap()), "c");
        // The oldest file is removed while it is read.
        let mut late = Reader::new(&log, Selection::default());
        fs::remove_file(files::path(folder.path(), 4)).unwrap();
        assert_eq!(texts(late.last(9).unwrap()), "c");
        write(4, &[a, b], "");
        let of_x = Selection { request: Some("x".to_owned()), since: None };
        assert_eq!(texts(Reader::new(&log, of_x).last(9).unwrap()), "a c");
        let new = || Selection { request: None, since: Some("2".to_owned()) };
        assert_eq!(texts(Reader::new(&log, new()).last(9).unwrap()), "b c");
        assert_eq!(texts(Reader::new(&log, new()).last(1).unwrap()), "c");
    }
}
