//! Markers: for which environments a requirement is meant (PEP 508).

use std::fmt;

/// A marker. It is read and written, and evaluated by uv alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marker {
    /// All of several hold.
    All(Vec<Marker>),
    /// A disjunction.
    Any(Vec<Marker>),
    /// Two values are compared.
    Compare(Value, &'static str, Value),
}

/// A side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A variable of the environment.
    Variable(&'static str),
    /// A text without quotes.
    Text(String),
}

/// Deepest nesting.
const DEEPEST: usize = 64;

/// Variables of an environment; those with a dot are how it was once written.
const VARIABLES: [&str; 18] = [
    "python_version",
    "python_full_version",
    "os_name",
    "sys_platform",
    "platform_release",
    "platform_system",
    "platform_version",
    "platform_machine",
    "platform_python_implementation",
    "implementation_name",
    "implementation_version",
    "extra",
    "os.name",
    "sys.platform",
    "platform.version",
    "platform.machine",
    "platform.python_implementation",
    "python_implementation",
];

/// Operators of signs, each ahead of those that it begins with.
const SIGNS: [&str; 8] = ["===", "==", "~=", "!=", "<=", ">=", "<", ">"];

impl Marker {
    /// Reads a marker; an error says what of it cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Parser { rest: text };
        let marker = reader.any(0)?;
        match reader.rest.trim_start() {
            "" => Ok(marker),
            rest => Err(format!("its marker goes on with {rest:?}")),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn any(&mut self, depth: usize) -> Result<Marker, String> {
        self.joined(depth, "or", Self::all, Marker::Any)
    }

    fn all(&mut self, depth: usize) -> Result<Marker, String> {
        self.joined(depth, "and", Self::one, Marker::All)
    }

    fn joined(
        &mut self,
        depth: usize,
        word: &str,
        part: fn(&mut Self, usize) -> Result<Marker, String>,
        join: fn(Vec<Marker>) -> Marker,
    ) -> Result<Marker, String> {
        let first = part(self, depth)?;
        let mut parts = vec![first];
        while self.take_word(word) {
            parts.push(part(self, depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { join(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Marker, String> {
        if depth == DEEPEST {
            return Err("its marker has too many brackets".to_owned());
        }
        if self.take_sign("(") {
            let inside = self.any(depth + 1)?;
            return if self.take_sign(")") {
                Ok(inside)
            } else {
                Err("a bracket of its marker is not closed".to_owned())
            };
        }
        let left = self.value()?;
        let operator = self.operator()?;
        Ok(Marker::Compare(left, operator, self.value()?))
    }

    fn operator(&mut self) -> Result<&'static str, String> {
        if let Some(sign) = SIGNS.into_iter().find(|sign| self.take_sign(sign)) {
            return Ok(sign);
        }
        if self.take_word("in") {
            return Ok("in");
        }
        if self.take_word("not") && self.take_word("in") {
            return Ok("not in");
        }
        Err(format!("its marker has no comparison before {:?}", self.rest))
    }

    fn value(&mut self) -> Result<Value, String> {
        let rest = self.rest.trim_start();
        if let Some(quote @ ('\'' | '"')) = rest.chars().next() {
            let (text, after) =
                rest[1..].split_once(quote).ok_or("a text of its marker is not closed")?;
            self.rest = after;
            return check(text).map(|()| Value::Text(text.to_owned()));
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let (name, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
        let known = VARIABLES.into_iter().find(|known| *known == name);
        let variable = known.ok_or_else(|| format!("its marker asks for {name:?}"))?;
        self.rest = after;
        Ok(Value::Variable(variable))
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let after = self.rest.trim_start().strip_prefix(sign);
        self.take(after)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let after = self.rest.trim_start().strip_prefix(word);
        self.take(after.filter(|after| !after.starts_with(is_part)))
    }

    fn take(&mut self, after: Option<&'a str>) -> bool {
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }
}

/// Refuses a text that could be read as something else: as a comment, an option or a variable of the
/// process, none of which the files that uv reads tell from a text in quotes.
fn check(text: &str) -> Result<(), String> {
    let is_part = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '\'' | '"' | '\\');
    let is_other = text.contains("${") || text.contains(" -") || text.contains(" #");
    if text.chars().all(is_part) && !is_other && !text.starts_with(['-', '#']) {
        return Ok(());
    }
    Err(format!("its marker has a text that is refused: {text:?}"))
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, word) = match self {
            Self::All(parts) => (parts, " and "),
            Self::Any(parts) => (parts, " or "),
            Self::Compare(left, operator, right) => return write!(f, "{left} {operator} {right}"),
        };
        for (number, part) in parts.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { word })?;
            match part {
                Self::Compare(..) => write!(f, "{part}")?,
                _ => write!(f, "({part})")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::Text(text) => write!(f, "'{text}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_written_as_it_was_meant() {
        for (text, written) in [
            ("python_version<\"4\"", "python_version < '4'"),
            ("(os_name=='nt')", "os_name == 'nt'"),
            (
                "os.name == 'a' or 'b' not  in platform_version and(extra=='c' or extra=='d')",
                "os.name == 'a' or ('b' not in platform_version and (extra == 'c' or extra == 'd'))",
            ),
            ("python_version~='3.9'", "python_version ~= '3.9'"),
        ] {
            let marker = Marker::parse(text).unwrap();
            assert_eq!(marker.to_string(), written);
            assert_eq!(Marker::parse(written).unwrap(), marker);
        }
    }

    #[test]
    fn what_could_be_read_as_something_else_is_refused() {
        let deep = format!("{}os_name == 'a'{}", "(".repeat(1000), ")".repeat(1000));
        for text in [
            "",
            "os_name",
            "os_name == ",
            "os_name == 'a' and",
            "os_name == 'a' 'b'",
            "(os_name == 'a'",
            "os_name = 'a'",
            "secret == 'a'",
            "os_name == 'a",
            "os_name == 'a\rb'",
            "os_name == 'a\u{2028}b'",
            "os_name == '${HOME}'",
            "os_name == 'a --hash=sha256:aa'",
            "os_name == 'a #'",
            "os_name not 'a'",
            &deep,
        ] {
            assert!(Marker::parse(text).is_err(), "{text:?}");
        }
    }
}
