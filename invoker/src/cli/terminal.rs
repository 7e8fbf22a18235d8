//! Texts for a terminal, which displays them and carries none of them out.
//!
//! All output passes here. On a terminal each character that the terminal might carry out is written as
//! an escape. Elsewhere (a pipe, a file) texts go as they are, as with `ls` and `git`, because the
//! reader may want the bytes and carries nothing out. Tables, errors and progress have their escapes
//! everywhere, because each of their lines must stay one line.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

/// A text on one line, for a terminal to show and not to carry out: control characters, and characters
/// that change how their neighbours are read, are written as escapes.
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        if is_invisible(character) {
            harmless.extend(character.escape_default());
        } else {
            harmless.push(character);
        }
    }
    harmless
}

/// True for characters that end lines, direct terminals, or change how their neighbours are read:
/// control characters, marks of direction, separators, and characters without width.
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}')
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(character, '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Lines that a terminal shows and does not carry out.
fn harmless_lines(text: &str) -> String {
    let mut lines = String::with_capacity(text.len());
    for character in text.chars() {
        if is_invisible(character) && !matches!(character, '\n' | '\t') {
            lines.extend(character.escape_default());
        } else {
            lines.push(character);
        }
    }
    lines
}

/// JSON in characters that a terminal shows and does not carry out.
fn harmless_json(json: &str) -> String {
    let mut harmless = String::with_capacity(json.len());
    for character in json.chars() {
        if is_invisible(character) && !matches!(character, '\n' | '\t' | '\r') {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(harmless, "\\u{unit:04x}");
            }
        } else {
            harmless.push(character);
        }
    }
    harmless
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Stdout, for results.
    Stdout,
    /// All else.
    Stderr,
}

impl Stream {
    /// True if the stream is a terminal.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }

    /// Writes a text.
    pub fn write(self, text: &str) -> io::Result<()> {
        if self.is_terminal() {
            self.put(harmless_lines(text).as_bytes())
        } else {
            self.put(text.as_bytes())
        }
    }

    /// Writes JSON.
    pub fn write_json(self, json: &str) -> io::Result<()> {
        if self.is_terminal() {
            self.put(harmless_json(json).as_bytes())
        } else {
            self.put(json.as_bytes())
        }
    }

    fn put(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
            Self::Stderr => io::stderr().write_all(bytes),
        }
    }
}

/// Bytes that come in parts, on their way to stdout.
#[derive(Debug)]
pub struct Parts {
    is_terminal: bool,
    /// The begin of a character.
    begun: Vec<u8>,
}

impl Parts {
    /// Nothing has come yet.
    pub fn new() -> Self {
        Self { is_terminal: Stream::Stdout.is_terminal(), begun: Vec::new() }
    }

    /// Writes one more part.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_terminal {
            return Stream::Stdout.put(bytes);
        }
        self.begun.extend_from_slice(bytes);
        let text = self.take_shown();
        Stream::Stdout.put(text.as_bytes())
    }

    /// Takes the whole characters that have come. Bytes that are no text become escapes.
    fn take_shown(&mut self) -> String {
        let mut shown = String::new();
        let mut rest = self.begun.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    shown.push_str(&harmless_lines(text));
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (text, after) = rest.split_at(error.valid_up_to());
                    shown.push_str(&harmless_lines(&String::from_utf8_lossy(text)));
                    rest = after;
                    // Only an incomplete character: its rest may come.
                    let Some(length) = error.error_len() else { break };
                    for byte in &after[..length] {
                        let _ = write!(shown, "\\x{byte:02x}");
                    }
                    rest = &after[length..];
                }
            }
        }
        self.begun = rest.to_vec();
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "a\u{1b}[2J\u{7}\r\n\tb\u{202e}\u{9b}\u{e0041}é";

    #[test]
    fn nothing_is_left_that_a_terminal_carries_out() {
        assert_eq!(harmless(ALL), "a\\u{1b}[2J\\u{7}\\r\\n\\tb\\u{202e}\\u{9b}\\u{e0041}é");
        let lines = harmless_lines(ALL);
        assert_eq!(lines, "a\\u{1b}[2J\\u{7}\\r\n\tb\\u{202e}\\u{9b}\\u{e0041}é");
        let json = serde_json::to_string(ALL).unwrap();
        let shown = harmless_json(&json);
        assert!(!shown.chars().any(is_invisible), "{shown:?}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), ALL);
    }

    #[test]
    fn parts_are_shown_wherever_they_were_cut() {
        let bytes = [ALL.as_bytes(), b"\xff\xe2\x80", "名".as_bytes(), b"\x9b\xe2"].concat();
        let whole = harmless_lines(ALL) + "\\xff\\xe2\\x80名\\x9b";
        for size in 1..bytes.len() {
            let mut parts = Parts { is_terminal: true, begun: Vec::new() };
            let shown: String = bytes
                .chunks(size)
                .map(|part| {
                    parts.begun.extend_from_slice(part);
                    parts.take_shown()
                })
                .collect();
            assert_eq!(shown, whole, "{size}");
            assert_eq!(parts.begun, b"\xe2");
        }
    }
}
