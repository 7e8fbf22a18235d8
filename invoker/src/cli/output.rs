//! What verbs print: results on stdout, the rest on stderr.

use std::io::{self, Write};

use serde::Serialize;

use super::failure::{Exit, Failure};

/// Prints text on stdout. A reader that has gone away has read enough.
pub fn print(text: &str) -> Result<Exit, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::System { step: "writing to stdout".to_owned(), error })
        }
        _ => Ok(Exit::Done),
    }
}

/// Prints one line on stdout.
pub fn line(text: impl Into<String>) -> Result<Exit, Failure> {
    print(&(text.into() + "\n"))
}

/// Prints a value as indented JSON.
pub fn json<T: Serialize>(value: &T) -> Result<Exit, Failure> {
    line(serde_json::to_string_pretty(value).map_err(Failure::system("writing JSON"))?)
}

/// Writes text to stderr, ending it with a newline. Where stderr is closed, nobody listens.
pub fn aside(text: &str) {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let _ = io::stderr().write_all(format!("{text}{end}").as_bytes());
}

/// Tells the user what failed.
pub fn complain(failure: &Failure) {
    aside(&format!("error: {failure}"));
}

/// Lays rows out in columns as wide as their widest cell.
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let all = || std::iter::once(&header).chain(rows);
    let widths: [usize; N] = std::array::from_fn(|column| {
        all().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    all()
        .map(|row| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let text = table(["NAME", "N"], &[row("häßlich", "1"), row("b", "")]);
        assert_eq!(text, "NAME     N\nhäßlich  1\nb\n");
    }
}
