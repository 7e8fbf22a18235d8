//! Output of verbs: results on stdout, the rest on stderr.

use std::io;

use rustix::termios::tcgetwinsize;
use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::peaker::Priority;
use tabled::settings::{Padding, Style, Width};

use super::failure::{Exit, Failure};
use super::terminal::Stream;
pub use super::terminal::harmless;

/// Spaces between two columns of a table.
const COLUMN_GAP: usize = 2;

/// Prints text on stdout. A reader that has gone away has read enough.
pub fn print(text: &str) -> Result<Exit, Failure> {
    done(Stream::Stdout.write(text))
}

/// Tells the outcome of a write to stdout.
pub fn done(written: io::Result<()>) -> Result<Exit, Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::System { step: "writing to stdout".to_owned(), source: error })
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
    json_line(serde_json::to_string_pretty(value).map_err(Failure::system("writing JSON"))?)
}

/// Prints JSON as it is, and an end of line.
pub fn json_line(json: impl Into<String>) -> Result<Exit, Failure> {
    done(Stream::Stdout.write_json(&(json.into() + "\n")))
}

/// Writes text to stderr, ending it with a newline. A closed stderr is no error.
pub fn aside(text: &str) {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let _ = Stream::Stderr.write(&format!("{text}{end}"));
}

/// Prints JSON on stderr.
pub fn json_aside(json: &str) {
    let _ = Stream::Stderr.write_json(&format!("{json}\n"));
}

/// Tells the user what failed.
pub fn complain(failure: &Failure) {
    let failure = failure.to_string();
    let lines: Vec<_> = failure.split('\n').map(harmless).collect();
    aside(&format!("error: {}", lines.join("\n")));
}

/// Lays rows out in columns as wide as their widest cell. On a terminal the widest cells are cut until
/// a row fits into one line.
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let width = tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    laid_out(header, rows, width.filter(|width| *width > 0))
}

fn laid_out<const N: usize>(
    header: [&str; N],
    rows: &[[String; N]],
    width: Option<usize>,
) -> String {
    let mut table = Builder::with_capacity(rows.len() + 1, N);
    table.push_record(header);
    for row in rows {
        table.push_record(row.iter().map(|cell| harmless(cell)));
    }
    let mut table = table.build();
    table.with(Style::empty()).with(Padding::new(0, COLUMN_GAP, 0, 0));
    if let Some(width) = width {
        // The gap behind the last column is cut off below.
        let width = Width::truncate(width + COLUMN_GAP).suffix("…");
        table.with(width.priority(Priority::max(true)));
    }
    table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(a: &str, b: &str) -> [String; 2] {
        [a.to_owned(), b.to_owned()]
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = laid_out(["NAME", "N"], &[row("häßlich", "1"), row("b", "")], None);
        assert_eq!(text, "NAME     N\nhäßlich  1\nb\n");
        let text = laid_out(["NAME", "N"], &[row("名前", "1")], None);
        assert_eq!(text, "NAME  N\n名前  1\n");
        assert_eq!(laid_out(["NAME", "N"], &[], None), "NAME  N\n");
    }

    #[test]
    fn the_widest_cells_are_cut_to_a_terminal() {
        let rows = [row("short", &"x".repeat(100)), row("shorter", "1")];
        let text = laid_out(["NAME", "FOR"], &rows, Some(20));
        assert_eq!(text, "NAME     FOR\nshort    xxxxxxxxxx…\nshorter  1\n");
        for width in 1..20 {
            let text = laid_out(["NAME", "FOR"], &rows, Some(width));
            assert_eq!(text.lines().count(), 3, "{text}");
        }
    }

    #[test]
    fn no_length_is_too_much() {
        let long = "x".repeat(8 << 20);
        let text = laid_out(["NAME", "N"], &[row(&long, "1"), row("b", &long)], None);
        assert_eq!(text.lines().nth(1), Some(format!("{long}  1").as_str()));
        let text = laid_out(["NAME", "N"], &[row(&long, "1"), row("b", &long)], Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn cells_tell_a_terminal_nothing() {
        let text = laid_out(["NAME"], &[["a\u{1b}[2J\r\nb\u{202e}\u{9b}".to_owned()]], None);
        assert_eq!(text, "NAME\na\\u{1b}[2J\\r\\nb\\u{202e}\\u{9b}\n");
    }
}
