//! The way from recordings to files: in memory first, so that no invocation waits for a disk.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use pipsqueak::wire::{LogRecord, LogSource};
use tokio::sync::Notify;

use super::Log;
use super::entry::{Content, Entry};
use crate::sync::{Mutex, lock};
use crate::wall_clock;

/// Longest wait of an entry for others, so that they are written together.
const PACE: Duration = Duration::from_millis(10);
/// Most bytes that wait for a disk before output is dropped. Other entries may take twice as much.
const MAX_WAITING: usize = 8 << 20;
/// Approximate size of an entry without its content, in bytes.
const ENTRY: usize = 128;

/// Entries that are recorded and not written yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    news: Notify,
    /// Held by the one task that writes, so that order is kept.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<(Arc<Log>, Entry)>,
    bytes: usize,
}

impl Queue {
    /// Adds an entry. False if there is no room for it; the entry is lost then.
    pub(super) fn put(&self, log: &Arc<Log>, request: &Arc<str>, content: Content) -> bool {
        let bytes = ENTRY + content.bytes();
        let entry = Entry { at: wall_clock::now(), request: request.clone(), content };
        let mut waiting = lock(&self.waiting);
        // The end of an invocation is worth more than its output, and small.
        let is_line = matches!(entry.content, Content::Line(_));
        if is_line && waiting.bytes + bytes > MAX_WAITING || waiting.bytes > 2 * MAX_WAITING {
            return false;
        }
        waiting.bytes += bytes;
        waiting.entries.push((log.clone(), entry));
        let is_first = waiting.entries.len() == 1;
        drop(waiting);
        if is_first {
            self.news.notify_one();
        }
        true
    }

    /// Writes entries as they come, for ever.
    pub(super) async fn write(&self) {
        loop {
            self.news.notified().await;
            tokio::time::sleep(PACE).await;
            self.flush().await;
        }
    }

    /// Writes the entries that wait.
    pub(super) async fn flush(&self) {
        let _turn = self.turn.lock().await;
        let entries = mem::take(&mut lock(&self.waiting).entries);
        if entries.is_empty() {
            return;
        }
        let written = tokio::task::spawn_blocking(move || write_out(entries)).await;
        // The entries were in memory until now.
        match written {
            Ok(bytes) => lock(&self.waiting).bytes -= bytes,
            Err(error) => tracing::error!(%error, "writing logs of functions"),
        }
    }
}

/// Writes entries to their logs; returns their size in memory, in bytes.
fn write_out(entries: Vec<(Arc<Log>, Entry)>) -> usize {
    let mut bytes = 0;
    let mut logs: BTreeMap<*const Log, (Arc<Log>, Vec<Vec<u8>>)> = BTreeMap::new();
    for (log, entry) in entries {
        bytes += ENTRY + entry.content.bytes();
        let (_, lines) = logs.entry(Arc::as_ptr(&log)).or_insert_with(|| (log, Vec::new()));
        lines.extend(entry.records().iter().map(line));
    }
    for (log, lines) in logs.into_values() {
        let mut files = log.files();
        if log.is_removed() {
            continue;
        }
        let had_lost = files.has_lost();
        if let Err(error) = files.append(&lines, |lost| line(&notice(lost)))
            && !had_lost
        {
            let folder = log.folder.display();
            tracing::warn!(%error, %folder, "logs of a function cannot be written");
        }
        drop(files);
        log.written.send_replace(());
    }
    bytes
}

fn notice(lost: u64) -> LogRecord {
    LogRecord {
        time: wall_clock::exactly(wall_clock::now()),
        request: String::new(),
        source: LogSource::Platform,
        text: format!("[{lost} bytes of logs could not be written to the disk]"),
    }
}

fn line(record: &LogRecord) -> Vec<u8> {
    // Records can always be written as JSON.
    let mut line = serde_json::to_vec(record).unwrap_or_default();
    line.push(b'\n');
    line
}
