//! Recorded entries, and their form in the files.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use pipsqueak::wire::{FunctionError, LogRecord, LogSource, Outcome, Tier};

use crate::wall_clock;

/// Most lines of an error that are kept.
const MAX_ERROR_LINES: usize = 100;
/// Most characters of each of these lines.
const MAX_ERROR_LINE: usize = 4 << 10;

/// A recorded entry. The task that writes it makes it into text.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at: DateTime<Utc>,
    pub(super) request: Arc<str>,
    pub(super) content: Content,
}

/// Content of an entry.
#[derive(Debug)]
pub(super) enum Content {
    /// An invocation begins, of this version of its function.
    Start(u64),
    /// A line of output.
    Line(Vec<u8>),
    /// Number of bytes of output that were not kept.
    Dropped(u64),
    /// The invocation has ended.
    End(Box<Report>),
}

/// End of an invocation.
#[derive(Debug)]
pub struct Report {
    /// Kind of the end.
    pub outcome: Outcome,
    /// Error of the invocation, if it failed.
    pub error: Option<FunctionError>,
    /// The best tier that its start found.
    pub tier: Tier,
    /// Time in the handler, in microseconds.
    pub run_us: u64,
    /// Memory limit of the sandbox, in bytes.
    pub memory: u64,
}

impl Content {
    /// Number of bytes that the content holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Line(line) => line.len(),
            Self::End(report) => report.error.as_ref().map_or(0, |error| {
                let trace: usize = error.stack_trace.iter().map(String::len).sum();
                error.error_message.len() + trace
            }),
            Self::Start(_) | Self::Dropped(_) => 0,
        }
    }
}

impl Entry {
    /// The entry as records, in the forms of AWS Lambda.
    pub(super) fn records(&self) -> Vec<LogRecord> {
        let request = &self.request;
        let platform = |text| (LogSource::Platform, text);
        let lines = match &self.content {
            Content::Start(version) => {
                vec![platform(format!("START RequestId: {request} Version: {version}"))]
            }
            Content::Line(line) => {
                vec![(LogSource::Function, String::from_utf8_lossy(line).into_owned())]
            }
            Content::Dropped(bytes) => {
                vec![platform(format!("[{bytes} more bytes were not kept]"))]
            }
            Content::End(report) => {
                let error = report.error.iter().flat_map(describe);
                let end = [format!("END RequestId: {request}"), report.text(request)];
                error.chain(end).map(platform).collect()
            }
        };
        let time = wall_clock::exactly(self.at);
        let record = |(source, text)| LogRecord {
            time: time.clone(),
            request: request.to_string(),
            source,
            text,
        };
        lines.into_iter().map(record).collect()
    }
}

impl Report {
    fn text(&self, request: &str) -> String {
        let tier = format!("{:?}", self.tier).to_lowercase();
        let status = match (&self.error, self.outcome) {
            (_, Outcome::Done) => String::new(),
            (Some(error), _) if error.error_type == "Runtime.Timeout" => "\tStatus: timeout".into(),
            (Some(error), _) => format!("\tStatus: error\tError Type: {}", error.error_type),
            (None, _) => "\tStatus: error".to_owned(),
        };
        format!(
            "REPORT RequestId: {request}\tDuration: {}.{:02} ms\tMemory Size: {} MB\tTier: {tier}{status}",
            self.run_us / 1000,
            self.run_us % 1000 / 10,
            self.memory >> 20,
        )
    }
}

fn describe(error: &FunctionError) -> Vec<String> {
    let first = format!("[ERROR] {}: {}", error.error_type, error.error_message);
    let trace = error.stack_trace.iter().flat_map(|frame| frame.lines());
    // The function tells its error, so the text may be anything.
    let lines = first.lines().chain(trace).take(MAX_ERROR_LINES);
    lines.map(|line| line.chars().take(MAX_ERROR_LINE).collect()).collect()
}
