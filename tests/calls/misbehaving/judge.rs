//! Comparison of a call's end with that in a plain process, or with a known limit.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::limits::{self, Told};
use super::oracle::Case;
use crate::harness::{Instance, Output};

/// Fewest characters of an error's message that are reported.
const TOLD: usize = 1000;
/// Most bytes of a call's output that are kept.
const KEPT: usize = 256 << 10;
/// Messages that are compared up to here only. Several checks notice a stack that is too deep, each
/// with an ending of its own; a want of descriptors has the name of a file behind it.
const WITHOUT_END: [&str; 2] =
    ["maximum recursion depth exceeded", "[Errno 24] Too many open files"];

/// The answer to an invocation.
#[derive(Debug)]
pub struct Answer {
    /// The result as it came.
    result: String,
    error: Value,
    /// The tier that its start found.
    pub tier: String,
    logs: String,
}

impl Answer {
    /// Invokes a function.
    pub fn of(instance: &Instance, function: &str, event: &Value) -> Self {
        let output = instance.call(&["invoke", function, "-d", &event.to_string(), "--json"]);
        Self::read(&output)
    }

    fn read(output: &Output) -> Self {
        let said: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let value = |name: &str| -> Value {
            said.get(name).map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap())
        };
        let text = |name: &str| value(name).as_str().unwrap_or_default().to_owned();
        let result = said.get("result").map_or("", |raw| raw.get()).to_owned();
        Self { result, error: value("error"), tier: text("tier"), logs: text("logs") }
    }

    fn kind(&self) -> &str {
        self.error["errorType"].as_str().unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.error["errorMessage"].as_str().unwrap_or_default()
    }

    /// True if the asked process has ended instead of answering.
    pub fn has_ended(&self) -> bool {
        ["Runtime.ExitError", "Runtime.Timeout", "Runtime.OutOfMemory"].contains(&self.kind())
    }

    /// True if a call has answered well that can print nothing.
    pub fn is_well_unprinted(&self) -> bool {
        self.error.is_null() && self.result.contains("\"said\": \"")
    }

    /// True if the output is what the call after `case` must print.
    pub fn prints_well(&self, case: &Case) -> bool {
        self.logs == format!("{} well\n", case.token(1))
    }

    /// True if the call has failed for want of a thread.
    pub fn is_without_thread(&self) -> bool {
        self.kind() == "RuntimeError" && self.message() == "can't start new thread"
    }

    /// A short text for messages.
    pub fn told(&self) -> String {
        let cut = |text: &str| text.chars().take(300).collect::<String>();
        if self.error.is_null() {
            return format!("{} [{}]", cut(&self.result), self.tier);
        }
        format!("{}: {} [{}]", self.kind(), cut(self.message()), self.tier)
    }

    /// Compares the answer with `outcome` of a plain process; the error names the difference.
    pub fn differs(&self, outcome: &Value) -> Result<(), String> {
        let differs = if let Some(result) = outcome["result"].as_str() {
            !self.error.is_null() || self.result != result
        } else if let Some(how) = outcome["ended"].as_str() {
            self.kind() != "Runtime.ExitError" || !self.message().contains(&format!("{how} "))
        } else if outcome["hangs"] == true {
            self.kind() != "Runtime.Timeout"
        } else if let Some(error) = outcome["no_json"].as_array() {
            self.kind() != "Runtime.MarshalError" || !self.says(&error[1])
        } else {
            let error = outcome["error"].as_array().unwrap();
            let kind = error[0].as_str().unwrap();
            let is_kind = match kind.len() {
                ..=200 => self.kind() == kind,
                _ => self.kind().starts_with(&kind[..200]),
            };
            !is_kind || !self.says(&error[1])
        };
        if !differs {
            return Ok(());
        }
        let outcome = outcome.to_string().chars().take(300).collect::<String>();
        Err(format!("{}, but in a plain process {outcome}", self.told()))
    }

    /// True if the answer's message is the text of an error, as far as that can be told.
    fn says(&self, text: &Value) -> bool {
        let Some(text) = text.as_str() else {
            return self.message().contains("its text cannot be had");
        };
        if let Some(begin) = WITHOUT_END.iter().find(|begin| text.starts_with(**begin)) {
            return self.message().contains(begin);
        }
        let message = self.message();
        let Some((begin, rest)) = message.rsplit_once("… [") else {
            return message.ends_with(text);
        };
        let (kept, length) = (begin.chars().count(), text.chars().count());
        // What is an escape was one character.
        let is_count = text.contains('\\') || rest == format!("{} more characters]", length - kept);
        kept >= TOLD && text.starts_with(begin) && is_count
    }

    /// Compares the reported output of a call with that of a plain process; the error names the
    /// difference. In a shared process that is the output of the call's thread.
    pub fn prints(&self, case: &Case, number: usize, is_shared: bool) -> Result<(), String> {
        let token = case.token(number);
        // What has no end of line may have another's line behind it.
        let lines = |text: &str| lines(&text.replace(&token, &format!("\n{token}")));
        let (told, expected) = (lines(&self.logs), lines(&case.printed(number).join("\n")));
        let others = |line: &&String| {
            let is_token = line.starts_with('<') && line[1..].starts_with(['b', 'c', 'n']);
            is_token && !line.starts_with(&token)
        };
        if let Some(line) = told.iter().filter(others).find(|line| {
            // What is left running in the process may print whenever it likes.
            !line.contains(" fd ") || !is_shared && !line.contains("later")
        }) {
            return Err(format!("another's line: {line}"));
        }
        let is_own = |line: &str| {
            let passing = line.contains("later") || line.contains("astray");
            line.contains(&token) && !passing && !(is_shared && line.contains(" fd "))
        };
        let own = |lines: Vec<String>| -> Vec<String> {
            lines.iter().filter(|line| is_own(line)).map(|line| without_addresses(line)).collect()
        };
        let (mut told, mut expected) = (own(told), own(expected));
        if self.logs.len() >= KEPT {
            // The last is cut.
            told.pop();
            expected.truncate(told.len());
        }
        if case.is("beside") {
            // What is not written yet when a process forks, both write.
            for lines in [&mut told, &mut expected] {
                lines.sort();
                lines.dedup();
            }
        }
        if told == expected {
            return Ok(());
        }
        let at = told.iter().zip(&expected).take_while(|(one, other)| one == other).count();
        let line =
            |lines: &[String]| lines.get(at).map(|line| line.chars().take(200).collect::<String>());
        Err(format!("prints {:?} as line {at}, not {:?}", line(&told), line(&expected)))
    }
}

fn without_addresses(line: &str) -> String {
    let mut parts = line.split(" at 0x");
    let begin = parts.next().unwrap_or_default().to_owned();
    parts.fold(begin, |line, part| line + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}

fn lines(text: &str) -> Vec<String> {
    text.split('\n').map(ToOwned::to_owned).collect()
}

/// Checks a misbehaving call; returns the faults.
pub fn judge(answer: &Answer, case: &Case, is_shared: bool) -> Vec<String> {
    let limit = limits::of(case);
    let differs = match limit.map(|limit| limit.told) {
        None => answer.differs(&case.outcome),
        Some(Told::Error(kind, message)) => {
            let is_so = answer.kind() == kind && answer.message().contains(message);
            is_so.then_some(()).ok_or_else(|| {
                let why = limit.map_or("", |limit| limit.why);
                format!("{}, not {kind}: {message} ({why})", answer.told())
            })
        }
        Some(Told::Result(result)) => {
            let is_so = answer.result == result && answer.error.is_null();
            is_so.then_some(()).ok_or_else(|| format!("{}, not {result}", answer.told()))
        }
    };
    let prints = match limit {
        // It has come less far, or another way.
        Some(_) => Ok(()),
        None => answer.prints(case, 0, is_shared),
    };
    [differs, prints].into_iter().filter_map(Result::err).collect()
}
