//! A function's environment variables, from the command line, files and stdin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::args::values::variable;
use super::failure::Failure;
use super::text;

/// Variables of files, as Docker reads them. A line `KEY=VALUE` has the value as it is; a line `KEY`
/// takes the caller's own value; `#` at a line's start begins a comment. Messages have no values.
pub fn of_files(files: &[PathBuf]) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = BTreeMap::new();
    for file in files {
        let text = text::read(file)?;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refused =
                |reason: String| Failure::Input(format!("{}:{number}: {reason}", file.display()));
            let own = if line.contains('=') { None } else { std::env::var(line).ok() };
            match (line.contains('='), own) {
                (true, _) => all.extend([variable(line).map_err(refused)?]),
                (false, Some(value)) => {
                    all.extend([variable(&format!("{line}={value}")).map_err(refused)?]);
                }
                // A variable that the caller does not have is not set for the function, either.
                (false, None) => drop(variable(&format!("{line}=")).map_err(refused)?),
            }
        }
    }
    Ok(all)
}

/// A variable whose value is the content of a file, without the end of its last line.
pub fn of_secret(name: &str, file: &Path) -> Result<(String, String), Failure> {
    let text = text::read(file)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.contains('\0') {
        let reason = "it has a zero byte, which no variable can have";
        return Err(Failure::Input(format!("--secret {name}: {}: {reason}", file.display())));
    }
    Ok((name.to_owned(), text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_docker_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.env");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            of_files(std::slice::from_ref(&file))
        };
        let all = read("# one\n\nA=b c #d\r\nB=\"q\"\n  C==x\nPATH\nPIPSQUEAK_NOT_SET\n").unwrap();
        let path = std::env::var("PATH").unwrap();
        let expected = [("A", "b c #d"), ("B", "\"q\""), ("C", "=x"), ("PATH", &path)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(all, BTreeMap::from(expected));
        for text in ["A=1\nmy key=hunter2\n", "A=1\n=hunter2\n", "A=1\nmy key\n"] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("f.env:2: ") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_a_files_content() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "hunter2\nmore\r\n").unwrap();
        let expected = ("KEY".to_owned(), "hunter2\nmore".to_owned());
        assert_eq!(of_secret("KEY", &file).unwrap(), expected);
        std::fs::write(&file, "hunter2\0").unwrap();
        let error = of_secret("KEY", &file).unwrap_err().to_string();
        assert!(error.contains("KEY") && !error.contains("hunter2"), "{error}");
    }
}
