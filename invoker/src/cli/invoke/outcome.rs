//! The end of an invocation, as the user is told it.

use pipsqueak::wire::{FunctionError, Invocation, Outcome};

use crate::cli::failure::{Exit, Failure};
use crate::cli::output;

/// The exit code that tells the end of an invocation.
pub fn exit(invocation: &Invocation) -> Exit {
    match invocation.outcome {
        Outcome::Done => Exit::Done,
        Outcome::Failed => Exit::Failed,
        Outcome::Refused => Exit::Refused,
    }
}

/// Prints the result on stdout, all else on stderr.
pub fn show(invocation: &Invocation) -> Result<Exit, Failure> {
    show_aside(invocation);
    match invocation.outcome {
        Outcome::Done => output::json_line(invocation.result.as_ref().map_or("null", |r| r.get())),
        Outcome::Failed | Outcome::Refused => Ok(Exit::Done),
    }
}

/// Prints logs and error on stderr.
pub fn show_aside(invocation: &Invocation) {
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
    use super::*;

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
