//! Texts as editors and shells write them: with a byte order mark, in UTF-16 as `PowerShell` does, or in an
//! encoding that one of the first two lines names, as Python's sources may.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use encoding_rs::{Encoding, UTF_8};

use super::failure::Failure;

/// Lines that may name the encoding (PEP 263).
const NAMING_LINES: usize = 2;

/// Reason that bytes are no text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TextError {
    /// The bytes are not in their encoding.
    #[error("it is not in {0}; save it as UTF-8")]
    Malformed(&'static str),
    /// The encoding is unknown.
    #[error("the encoding {0:?} is unknown; save it as UTF-8")]
    Unknown(String),
}

/// The text of a file; `-` is stdin.
pub fn read(path: &Path) -> Result<String, Failure> {
    decode(&read_bytes(path)?).map_err(|error| unreadable(path, &error))
}

/// The bytes of a file; `-` is stdin.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    read.map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

fn unreadable(path: &Path, reason: &dyn std::error::Error) -> Failure {
    Failure::Input(format!("cannot read {}: {reason}", path.display()))
}

/// The text, without a byte order mark.
pub fn decode(bytes: &[u8]) -> Result<String, TextError> {
    let (encoding, text) = match Encoding::for_bom(bytes) {
        Some((encoding, mark)) => (encoding, bytes.get(mark..).unwrap_or_default()),
        None => (named(bytes)?, bytes),
    };
    encoding
        .decode_without_bom_handling_and_without_replacement(text)
        .map(std::borrow::Cow::into_owned)
        .ok_or(TextError::Malformed(encoding.name()))
}

/// The encoding that a comment names.
fn named(bytes: &[u8]) -> Result<&'static Encoding, TextError> {
    let lines = bytes.split(|byte| *byte == b'\n').take(NAMING_LINES);
    let label = lines.filter(|line| line.trim_ascii_start().starts_with(b"#")).find_map(label_of);
    let Some(label) = label else { return Ok(UTF_8) };
    // Python knows `latin_1` and `latin-1` as well as `latin1`.
    let spelled = [label.clone(), label.replace('_', "-"), label.replace(['_', '-'], "")];
    let known = spelled.iter().find_map(|label| Encoding::for_label(label.as_bytes()));
    known.ok_or(TextError::Unknown(label))
}

/// The label that follows `coding:` or `coding=` in a comment.
fn label_of(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    let (_, rest) = line.split_once("coding")?;
    let rest = rest.strip_prefix([':', '='])?.trim_start_matches([' ', '\t']);
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let label: String = rest.chars().take_while(|c| is_part(*c)).collect();
    (!label.is_empty()).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        ['\u{feff}']
            .into_iter()
            .chain(text.chars())
            .flat_map(|c| {
                c.encode_utf16(&mut [0; 2]).iter().flat_map(|unit| bytes(*unit)).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn texts_are_read_in_whatever_they_are_written() {
        let text = "six==1.16.0 # é𝄞\r\nattrs\r\n";
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            utf16(text, u16::to_le_bytes),
            utf16(text, u16::to_be_bytes),
        ] {
            assert_eq!(decode(&bytes).unwrap(), text, "{bytes:?}");
        }
        assert_eq!(decode(b"").unwrap(), "");
    }

    #[test]
    fn an_encoding_is_named_in_the_first_two_lines() {
        for line in ["# -*- coding: latin-1 -*-", "#!x\n# vim: set fileencoding=iso_8859_1 :"] {
            let bytes = [line.as_bytes(), b"\n# \xe9\n"].concat();
            assert_eq!(decode(&bytes).unwrap(), format!("{line}\n# é\n"));
        }
        let late = b"\n\n# coding: latin-1\n# \xe9\n";
        assert_eq!(decode(late), Err(TextError::Malformed("UTF-8")));
        assert_eq!(decode(b"# coding: klingon\n"), Err(TextError::Unknown("klingon".to_owned())));
        assert_eq!(decode(b"\xff\xfe\x00\xd8"), Err(TextError::Malformed("UTF-16LE")));
        assert_eq!(decode(b"coding: latin-1").unwrap(), "coding: latin-1");
    }
}
