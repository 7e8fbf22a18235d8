//! Scripts: those that a wheel has, and those that its `entry_points.txt` asks for. They find the
//! interpreter beside themselves, wherever an environment is.

use super::Flaw;

/// Beginning of a wheel's script whose interpreter is to be named when it is installed.
pub const PLACEHOLDER: &[u8] = b"#!python";
/// Longest first line of such a script, in bytes.
const MAX_LINE: usize = 4096;

/// The first lines of such a script when it is installed.
pub const SHEBANG: &str = "#!/bin/sh
'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"
' '''
";

/// Names of scripts that every environment has itself.
pub fn is_reserved(name: &str) -> bool {
    let rest = name.strip_prefix("python").map(|rest| rest.trim_start_matches('w'));
    rest.is_some_and(|rest| {
        rest.trim_end_matches('t').bytes().all(|b| matches!(b, b'0'..=b'9' | b'.'))
    })
}

/// A script that a wheel asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPoint {
    /// Name.
    pub name: String,
    module: String,
    function: String,
}

impl EntryPoint {
    /// The script's text.
    pub fn script(&self) -> String {
        let Self { module, function, .. } = self;
        let imported = function.split('.').next().unwrap_or(function);
        format!(
            "{SHEBANG}# -*- coding: utf-8 -*-
import sys
from {module} import {imported}
if __name__ == \"__main__\":
    if sys.argv[0].endswith(\"-script.pyw\"):
        sys.argv[0] = sys.argv[0][:-11]
    elif sys.argv[0].endswith(\".exe\"):
        sys.argv[0] = sys.argv[0][:-4]
    sys.exit({function}())
"
        )
    }
}

/// The scripts that a wheel's `entry_points.txt` asks for, in order.
pub fn entry_points(text: &str) -> Result<Vec<EntryPoint>, Flaw> {
    let mut found: Vec<EntryPoint> = Vec::new();
    let mut is_script = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_script = matches!(section.trim(), "console_scripts" | "gui_scripts");
        } else if is_script {
            let script = entry_point(line).ok_or_else(|| {
                Flaw::Metadata(format!("entry_points.txt: {line:?} is no script's entry point"))
            })?;
            // The last of a name is the one, as in any such file.
            found.retain(|known| known.name != script.name);
            found.push(script);
        }
    }
    Ok(found)
}

fn entry_point(line: &str) -> Option<EntryPoint> {
    let (name, object) = line.split_once('=')?;
    let (object, extras) = object.split_once('[').map_or((object, None), |(o, e)| (o, Some(e)));
    if extras.is_some_and(|extras| !extras.trim_end().ends_with(']')) {
        return None;
    }
    let (module, function) = object.split_once(':')?;
    let (name, module, function) = (name.trim(), module.trim(), function.trim());
    let is_dotted = |text: &str| {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        !text.is_empty() && text.chars().all(is_part)
    };
    (!name.is_empty() && is_dotted(module) && is_dotted(function)).then(|| EntryPoint {
        name: name.to_owned(),
        module: module.to_owned(),
        function: function.to_owned(),
    })
}

/// Changes the first line of a script on its way, where it is a placeholder.
#[derive(Debug, Default)]
pub struct Rewriting {
    /// The beginning, until it is known what it is.
    begun: Vec<u8>,
    is_decided: bool,
}

impl Rewriting {
    /// Returns what is to be written in the place of the next part; `None` if it is not known yet. `Err` if a
    /// placeholder has no end.
    pub fn next(&mut self, part: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
        if self.is_decided {
            return Ok(Some(part.to_vec()));
        }
        self.begun.extend_from_slice(part);
        let known = self.begun.len().min(PLACEHOLDER.len());
        if self.begun[..known] != PLACEHOLDER[..known] {
            return Ok(self.rest());
        }
        let end = self.begun.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end else {
            let is_long = self.begun.len() > MAX_LINE;
            return if is_long { Err("its first line is too long") } else { Ok(None) };
        };
        let is_whole = self.begun[end] == b'\n' || end + 1 < self.begun.len();
        if !is_whole {
            return Ok(None);
        }
        self.is_decided = true;
        let mut rest = self.begun.split_off(end);
        rest.drain(..if rest.starts_with(b"\r\n") { 2 } else { 1 });
        Ok(Some([SHEBANG.as_bytes(), &rest].concat()))
    }

    /// Returns what is left at the end.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        if self.is_decided {
            return None;
        }
        self.is_decided = true;
        let begun = std::mem::take(&mut self.begun);
        if begun.starts_with(PLACEHOLDER) {
            return Some(SHEBANG.as_bytes().to_vec());
        }
        Some(begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_those_of_two_sections() {
        let text = "# x\n[console_scripts]\na = m.n:f.g [x, y]\nb=m : f\n\n[gui_scripts]\nc = m:f\n\
            a = m:last\n[other]\nd = whatever\n";
        let scripts = entry_points(text).unwrap();
        let names: Vec<_> = scripts.iter().map(|script| &*script.name).collect();
        assert_eq!(names, ["b", "c", "a"]);
        let script = scripts[2].script();
        assert!(script.contains("from m import last\n") && script.ends_with("exit(last())\n"));
        for line in ["a", "a = m", "a = m:f ; x", "a = m:f(1)", "= m:f", "a = m:f [x"] {
            assert!(entry_points(&format!("[console_scripts]\n{line}\n")).is_err(), "{line}");
        }
    }

    #[test]
    fn only_placeholders_are_changed_however_they_arrive() {
        let written = |text: &str, by: usize| {
            let mut rewriting = Rewriting::default();
            let mut written = Vec::new();
            for part in text.as_bytes().chunks(by) {
                written.extend(rewriting.next(part).unwrap().into_iter().flatten());
            }
            written.extend(rewriting.rest().into_iter().flatten());
            String::from_utf8(written).unwrap()
        };
        for by in [1, 5, 100] {
            assert_eq!(written("#!python -E\nx\n", by), format!("{SHEBANG}x\n"));
            assert_eq!(written("#!pythonw\r\nx\r\n", by), format!("{SHEBANG}x\r\n"));
            assert_eq!(written("#!python\rx", by), format!("{SHEBANG}x"));
            assert_eq!(written("#!python", by), SHEBANG);
            for same in ["", "#!", "#!/bin/sh\n", "#!pytho\n", "\u{7f}ELF"] {
                assert_eq!(written(same, by), same);
            }
        }
        assert!(Rewriting::default().next(&[PLACEHOLDER, &[b'x'; 5000]].concat()).is_err());
    }

    #[test]
    fn names_of_interpreters_are_reserved() {
        for name in ["python", "python3", "python3.11", "pythonw", "python3.13t"] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["pythonic", "python-argcomplete", "ipython", "python3-config"] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
