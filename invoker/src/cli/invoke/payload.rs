//! The event of an invocation: a text, a file or stdin.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pipsqueak::wire::MOST_PAYLOAD;
use serde_json::value::RawValue;

use crate::cli::failure::Failure;

/// The bytes of an event: of a text, or of its source.
pub fn read(data: &OsStr) -> Result<Vec<u8>, Failure> {
    match open(data)? {
        Some((from, name)) => read_all(from, name),
        None => Ok(data.as_bytes().to_owned()),
    }
}

/// Something to be read, and its name.
pub type Source = (Box<dyn Read + Send>, String);

/// The source that `-` or `@FILE` stands for; none if a text is neither.
pub fn open(text: &OsStr) -> Result<Option<Source>, Failure> {
    Ok(match text.as_bytes() {
        b"-" => Some((Box::new(std::io::stdin()), "stdin".to_owned())),
        [b'@', path @ ..] => {
            let path = Path::new(OsStr::from_bytes(path));
            let unreadable = |error| unreadable(path.display(), &error);
            let file = File::open(path).map_err(unreadable)?;
            // An error is told before anything is sent, because a streamed body is read only while the
            // function runs.
            if file.metadata().map_err(unreadable)?.is_dir() {
                return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
            }
            Some((Box::new(file), path.display().to_string()))
        }
        _ => None,
    })
}

/// Reads at most one byte past the limit: a longer event is refused, however long it is.
fn read_all(from: impl Read, name: impl std::fmt::Display) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = MOST_PAYLOAD + 1;
    from.take(most).read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    Ok(bytes)
}

fn unreadable(name: impl std::fmt::Display, error: &std::io::Error) -> Failure {
    Failure::Input(format!("reading the payload from {name}: {error}"))
}

/// Takes bytes for an event if they are JSON.
pub fn check(payload: Vec<u8>) -> Result<Box<RawValue>, Failure> {
    if payload.len() as u64 > MOST_PAYLOAD {
        return Err(Failure::PayloadTooLong(MOST_PAYLOAD));
    }
    let text = String::from_utf8(payload)
        .map_err(|error| Failure::Input(format!("the payload is not UTF-8: {error}")))?;
    RawValue::from_string(text)
        .map_err(|error| Failure::Input(format!("the payload is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli::failure::Exit;

    fn checked(text: &str) -> Result<Box<RawValue>, Failure> {
        check(text.as_bytes().to_vec())
    }

    #[test]
    fn a_payload_is_json_to_the_byte() {
        for text in ["{}", "1.10", "null", "[1,\n 2]", "\"ä\"", "-5"] {
            assert_eq!(checked(text).unwrap().get(), text);
        }
        assert_eq!(checked(" {} \n").unwrap().get(), "{}");
    }

    #[test]
    fn what_is_not_json_is_told_with_line_and_column() {
        for text in ["", "{", "{'a': 1}", "1 2", "nul", "[1,]"] {
            let failure = checked(text).unwrap_err();
            assert_eq!(failure.exit(), Exit::BadInput, "{text}");
            assert!(failure.to_string().contains("at line 1 column"), "{failure}");
        }
        let failure = checked("{\n\"a\": }").unwrap_err();
        assert!(failure.to_string().ends_with("at line 2 column 6"), "{failure}");
        assert_eq!(check(vec![b'"', 0xff, b'"']).unwrap_err().exit(), Exit::BadInput);
    }

    #[test]
    fn what_no_function_takes_is_not_even_read() {
        let most = usize::try_from(MOST_PAYLOAD).unwrap();
        let read = read_all(std::io::repeat(b'1'), "x").unwrap();
        assert_eq!(read.len(), most + 1);
        assert_eq!(check(read).unwrap_err().exit(), Exit::Refused);
    }

    #[test]
    fn a_file_is_named_with_an_at_sign() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"[1]").unwrap();
        let name = format!("@{}", file.path().display());
        assert_eq!(read(OsStr::new(&name)).unwrap(), b"[1]");
        let failure = read(OsStr::new("@/nowhere")).unwrap_err();
        assert!(failure.to_string().starts_with("reading the payload from /nowhere: No such file"));
        assert_eq!(read(OsStr::new("[2]")).unwrap(), b"[2]");
    }
}
