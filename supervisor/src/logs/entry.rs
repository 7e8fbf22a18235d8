//! What is recorded, and how it is written.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use pipsqueak::wire::{FunctionError, LogRecord, LogSource, Outcome, Tier};

use crate::wall_clock;

/// Most lines of an error that are kept.
const MAX_ERROR_LINES: usize = 100;
/// Most characters of each.
const MAX_ERROR_LINE: usize = 4 << 10;

/// Something that was recorded. It is made into text by who writes it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at: DateTime<Utc>,
    pub(super) request: Arc<str>,
    pub(super) content: Content,
}

/// What.
#[derive(Debug)]
pub(super) enum Content {
    /// An invocation begins, of this version of its function.
    Start(u64),
    /// A line that was printed.
    Line(Vec<u8>),
    /// So many bytes that were printed were not kept.
    Dropped(u64),
    /// It has ended.
    End(Box<Report>),
}

/// How an invocation ended.
#[derive(Debug)]
pub struct Report {
    /// How.
    pub outcome: Outcome,
    /// Why it failed, where it did.
    pub error: Option<FunctionError>,
    /// The best tier that its start found.
    pub tier: Tier,
    /// Time in the handler, in microseconds.
    pub run_us: u64,
    /// Its memory limit, in bytes.
    pub memory: u64,
}

impl Content {
    /// How many bytes it holds.
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
    /// As records. The forms are those of AWS Lambda.
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
    // The function says what its error is, so it may be anything.
    let lines = first.lines().chain(trace).take(MAX_ERROR_LINES);
    lines.map(|line| line.chars().take(MAX_ERROR_LINE).collect()).collect()
}
