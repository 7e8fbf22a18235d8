//! `pipsqueak logs`: what a function has printed.

use std::io::{self, Write};

use pipsqueak::client::Client;
use pipsqueak::settings;
use pipsqueak::wire::{LogRecord, LogsRequest};

use super::args::{Logs, Places};
use super::failure::{Exit, Failure};

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
    let mut client = Client::connect(&settings::run_folder(places.run.as_deref())?)?;
    let mut written = Ok(());
    client.logs(wanted, &mut |records| {
        written = write(&records, logs.json);
        written.is_ok()
    })?;
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::System { step: "writing to stdout".to_owned(), error })
        }
        // A reader that has gone away has read enough.
        _ => Ok(Exit::Done),
    }
}

fn write(records: &[LogRecord], as_json: bool) -> io::Result<()> {
    let mut text = Vec::new();
    for record in records {
        if as_json {
            serde_json::to_writer(&mut text, record)?;
            text.push(b'\n');
        } else {
            let LogRecord { time, request, text: said, .. } = record;
            writeln!(text, "{time} {request} {said}")?;
        }
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&text)?;
    stdout.flush()
}
