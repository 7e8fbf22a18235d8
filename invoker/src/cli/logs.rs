//! `pipsqueak logs`: the output of a function.

use std::io;

use pipsqueak::client::Client;
use pipsqueak::settings;
use pipsqueak::wire::{LogRecord, LogsRequest};

use super::args::{Logs, Places};
use super::failure::{Exit, Failure};
use super::output;
use super::terminal::Stream;

/// Carries the verb out.
pub fn run(places: &Places, logs: Logs) -> Result<Exit, Failure> {
    let since_ms = logs.since.map(|since| since.as_millis().try_into().unwrap_or(u64::MAX));
    let wanted = LogsRequest {
        function: logs.name,
        follow: logs.follow,
        since_ms,
        lines: logs.lines,
        request: logs.request,
    };
    let mut client = Client::connect(&settings::run_folder(&places.0)?)?;
    let mut written = Ok(());
    client.logs(wanted, &mut |records| {
        written = write(&records, logs.json);
        written.is_ok()
    })?;
    output::done(written)
}

fn write(records: &[LogRecord], as_json: bool) -> io::Result<()> {
    let mut text = String::new();
    for record in records {
        if as_json {
            text.push_str(&serde_json::to_string(record)?);
        } else {
            let LogRecord { time, request, text: said, .. } = record;
            text.extend([time, " ", request, " ", said]);
        }
        text.push('\n');
    }
    if as_json { Stream::Stdout.write_json(&text) } else { Stream::Stdout.write(&text) }
}
