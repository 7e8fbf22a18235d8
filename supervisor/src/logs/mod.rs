//! Output of functions and the course of their invocations, on disk:
//!
//! ```text
//! STATE/logs/NAME/NUMBER.jsonl   records as JSON, one a line; the highest number is written to
//! ```
//!
//! An invocation's [`Recording`] puts entries into a `queue`, which never waits for a disk; a task
//! writes them to `files`, of which the oldest is removed when there is too much. A reader reads the
//! files, and is told when there is more.

mod entry;
mod files;
mod queue;
mod read;
mod recording;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use files::Files;
use queue::Queue;

use crate::sync::{Mutex, MutexGuard, lock};
pub use entry::Report;
pub use read::{Reader, Selection};
pub use recording::Recording;

/// The logs of all functions.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    bound: u64,
    logs: Mutex<BTreeMap<String, Arc<Log>>>,
    queue: Arc<Queue>,
}

/// The log of one function.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    files: Mutex<Files>,
    /// True once the function is removed.
    is_removed: AtomicBool,
    /// Changes when there is more to read.
    written: watch::Sender<()>,
}

impl Journal {
    /// Opens the logs below `folder`; logs of functions other than `functions` are removed. Each log
    /// has at most `bound` bytes.
    pub fn open(folder: PathBuf, bound: u64, functions: &BTreeSet<String>) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| functions.contains(name)) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self { folder, bound, logs: Mutex::default(), queue: Arc::default() })
    }

    /// Writes what is recorded, until the task is dropped.
    pub async fn write(self: Arc<Self>) {
        self.queue.write().await;
    }

    /// Writes what was recorded up to now.
    pub async fn flush(&self) {
        self.queue.flush().await;
    }

    /// Begins to record an invocation of a function in its log.
    pub fn record(&self, log: &Arc<Log>, version: u64, request: &str) -> Recording {
        Recording::begin(log.clone(), self.queue.clone(), version, request)
    }

    /// A function's log.
    pub fn of(&self, function: &str) -> Arc<Log> {
        let mut logs = lock(&self.logs);
        if let Some(log) = logs.get(function) {
            return log.clone();
        }
        let log = Arc::new(Log::new(self.folder.join(function), self.bound));
        logs.insert(function.to_owned(), log.clone());
        log
    }

    /// Removes a function's log. Entries that its last invocations still record are dropped.
    pub async fn remove(&self, function: &str) -> io::Result<()> {
        let log = self.of(function);
        lock(&self.logs).remove(function);
        log.is_removed.store(true, Ordering::SeqCst);
        let removing = log.clone();
        let removed = tokio::task::spawn_blocking(move || {
            // The lock waits until nobody writes to these files.
            let _files = removing.files();
            match fs::remove_dir_all(&removing.folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        });
        let removed = removed.await.map_err(io::Error::other)?;
        log.written.send_replace(());
        removed
    }

    /// Size of all logs on disk, in bytes. Blocks.
    pub fn bytes(&self) -> u64 {
        let functions = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        functions.flat_map(|function| files::list(&function.path())).map(|file| file.bytes).sum()
    }
}

impl Log {
    fn new(folder: PathBuf, bound: u64) -> Self {
        let files = Mutex::new(Files::new(folder.clone(), bound));
        let written = watch::Sender::new(());
        Self { folder, files, is_removed: AtomicBool::new(false), written }
    }

    /// True if the log's function is removed.
    pub fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::SeqCst)
    }

    /// A receiver that is told when there is more to read.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.written.subscribe()
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        lock(&self.files)
    }
}

#[cfg(test)]
mod tests {
    use pipsqueak::wire::{LogRecord, Outcome, Tier};

    use super::*;

    fn read(log: &Arc<Log>) -> Vec<LogRecord> {
        let mut reader = Reader::new(log, Selection::default());
        let mut all = Vec::new();
        while let Some(batch) = reader.read().unwrap() {
            all.extend(batch);
        }
        all
    }

    fn report() -> Report {
        Report {
            outcome: Outcome::Done,
            error: None,
            tier: Tier::Paused,
            run_us: 1500,
            memory: 1 << 29,
        }
    }

    #[tokio::test]
    async fn interleaved_invocations_are_told_apart_and_go_with_their_function() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path().into(), 1 << 20, &BTreeSet::new()).unwrap();
        let mut first = journal.record(&journal.of("f"), 3, "1");
        let mut second = journal.record(&journal.of("f"), 3, "2");
        first.print(b"a\nb");
        second.print(b"\xffc\n");
        first.print(b"b\nend");
        first.end(report());
        second.end(report());
        journal.flush().await;
        let log = journal.of("f");
        let of = |request: &str| {
            let records = read(&log).into_iter().filter(|record| record.request == request);
            records.map(|record| record.text).collect::<Vec<_>>()
        };
        let told = of("1");
        assert_eq!(told[..4], ["START RequestId: 1 Version: 3", "a", "bb", "end"]);
        assert_eq!(told[4], "END RequestId: 1");
        assert!(told[5].starts_with("REPORT RequestId: 1\tDuration: 1.50 ms\t"), "{told:?}");
        assert_eq!(of("2")[1], "\u{fffd}c");
        assert!(journal.bytes() > 0);

        let mut late = journal.record(&journal.of("f"), 3, "3");
        journal.remove("f").await.unwrap();
        late.print(b"too late\n");
        journal.flush().await;
        assert!(log.is_removed() && !folder.path().join("f").exists());
    }

    #[tokio::test]
    async fn an_invocation_that_prints_much_says_once_what_was_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path().into(), 1 << 20, &BTreeSet::new()).unwrap();
        let mut recording = journal.record(&journal.of("f"), 1, "1");
        for _ in 0..100 {
            recording.print(&vec![b'x'; 1 << 14]);
        }
        recording.end(report());
        journal.flush().await;
        let records = read(&journal.of("f"));
        let kept: usize =
            records.iter().filter(|r| r.text.starts_with('x')).map(|r| r.text.len()).sum();
        let told: Vec<_> = records.iter().filter(|r| r.text.contains("not kept")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].text, format!("[{} more bytes were not kept]", (100 << 14) - kept));
        assert!(kept > 0 && kept <= recording::MAX_PRINTED);
    }

    #[test]
    fn logs_of_functions_that_are_gone_go() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["kept", "gone"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Journal::open(folder.path().into(), 1 << 20, &["kept".to_owned()].into()).unwrap();
        assert!(folder.path().join("kept").exists() && !folder.path().join("gone").exists());
    }
}
