//! `pipsqueak invoke`: run a function once. No runtime.

mod streamed;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pipsqueak::wire::{
    DEFAULT_PAYLOAD, FunctionError, Invocation, MOST_PAYLOAD, Outcome, Reply, Request,
};
use serde_json::value::RawValue;

use super::args::{Invoke, Places};
use super::failure::{Exit, Failure};
use super::progress::Meter;
use super::{ask, output};

/// Carries the verb out.
pub fn run(places: &Places, invoke: Invoke) -> Result<Exit, Failure> {
    if invoke.body.as_ref().is_some_and(|body| body == "-" && invoke.data == *body) {
        return Err(Failure::Input("stdin is either the event or the body".to_owned()));
    }
    let payload = check(read(&invoke.data)?)?;
    if invoke.is_async {
        return enqueue(places, invoke, payload);
    }
    refuse_too_long(places, &invoke.name, &payload)?;
    if invoke.stream || invoke.body.is_some() {
        return streamed::run(places, invoke, payload);
    }
    let deadline_ms = deadline_ms(&invoke);
    let request = Request::Invoke { function: invoke.name, payload, deadline_ms };
    let Reply::Invocation(invocation) = ask(places, &request, Meter::still())? else {
        return Err(Failure::WrongReply);
    };
    if invoke.json {
        let json = serde_json::to_string(&invocation).map_err(Failure::system("writing JSON"))?;
        output::json_line(json)?;
    } else {
        show(&invocation)?;
    }
    Ok(exit(&invocation))
}

fn deadline_ms(invoke: &Invoke) -> Option<u64> {
    invoke.deadline.map(|wait| wait.as_millis().try_into().unwrap_or(u64::MAX))
}

fn exit(invocation: &Invocation) -> Exit {
    match invocation.outcome {
        Outcome::Done => Exit::Done,
        Outcome::Failed => Exit::Failed,
        Outcome::Refused => Exit::Refused,
    }
}

fn enqueue(places: &Places, invoke: Invoke, payload: Box<RawValue>) -> Result<Exit, Failure> {
    let request = Request::InvokeAsync { function: invoke.name, payload };
    let Reply::Accepted(accepted) = ask(places, &request, Meter::still())? else {
        return Err(Failure::WrongReply);
    };
    if invoke.json { output::json(&accepted) } else { output::line(accepted.id) }
}

fn read(data: &OsStr) -> Result<Vec<u8>, Failure> {
    match open(data)? {
        Some((from, name)) => read_all(from, name),
        None => Ok(data.as_bytes().to_owned()),
    }
}

/// Something to be read, and its name.
type Source = (Box<dyn Read + Send>, String);

/// The source that `-` or `@FILE` stands for; none if a text is neither.
fn open(text: &OsStr) -> Result<Option<Source>, Failure> {
    Ok(match text.as_bytes() {
        b"-" => Some((Box::new(std::io::stdin()), "stdin".to_owned())),
        [b'@', path @ ..] => {
            let path = Path::new(OsStr::from_bytes(path));
            let unreadable = |error| unreadable(path.display(), &error);
            let file = File::open(path).map_err(unreadable)?;
            // Said before anything is sent: what is streamed is read while the function runs.
            if file.metadata().map_err(unreadable)?.is_dir() {
                return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
            }
            Some((Box::new(file), path.display().to_string()))
        }
        _ => None,
    })
}

/// Reads one byte past the limit at most: what is longer is refused, however long it is.
fn read_all(from: impl Read, name: impl std::fmt::Display) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = MOST_PAYLOAD + 1;
    from.take(most).read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    Ok(bytes)
}

fn unreadable(name: impl std::fmt::Display, error: &std::io::Error) -> Failure {
    Failure::Input(format!("reading the payload from {name}: {error}"))
}

fn check(payload: Vec<u8>) -> Result<Box<RawValue>, Failure> {
    if payload.len() as u64 > MOST_PAYLOAD {
        return Err(Failure::PayloadTooLong(MOST_PAYLOAD));
    }
    let text = String::from_utf8(payload)
        .map_err(|error| Failure::Input(format!("the payload is not UTF-8: {error}")))?;
    RawValue::from_string(text)
        .map_err(|error| Failure::Input(format!("the payload is not JSON: {error}")))
}

/// Refuses a payload that is over the function's limit. The supervisor is asked for the limit only if
/// the payload is longer than what every function takes.
fn refuse_too_long(places: &Places, name: &str, payload: &RawValue) -> Result<(), Failure> {
    let length = payload.get().len() as u64;
    if length <= DEFAULT_PAYLOAD {
        return Ok(());
    }
    let request = Request::FunctionsShow { name: name.to_owned() };
    let Reply::Function(function) = ask(places, &request, Meter::still())? else {
        return Err(Failure::WrongReply);
    };
    let most = function.payload_in.unwrap_or(DEFAULT_PAYLOAD);
    if length > most { Err(Failure::PayloadTooLong(most)) } else { Ok(()) }
}

/// Result to stdout, all else to stderr.
fn show(invocation: &Invocation) -> Result<Exit, Failure> {
    show_aside(invocation);
    match invocation.outcome {
        Outcome::Done => output::json_line(invocation.result.as_ref().map_or("null", |r| r.get())),
        Outcome::Failed | Outcome::Refused => Ok(Exit::Done),
    }
}

fn show_aside(invocation: &Invocation) {
    output::aside(&invocation.logs);
    if let Some(error) = &invocation.error {
        output::aside(&describe(error));
    }
}

fn describe(error: &FunctionError) -> String {
    let lines = error.stack_trace.iter().map(|line| line.trim_end_matches('\n'));
    let last = format!("{}: {}", error.error_type, error.error_message);
    lines.chain([last.as_str()]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

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

    #[test]
    fn an_error_ends_with_type_and_message() {
        let error = FunctionError {
            error_type: "ValueError".to_owned(),
            error_message: "no".to_owned(),
            stack_trace: vec!["  File \"f.py\", line 1, in f\n    raise\n".to_owned()],
        };
        assert_eq!(describe(&error), "  File \"f.py\", line 1, in f\n    raise\nValueError: no");
    }
}
