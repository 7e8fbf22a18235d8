//! RECORD: the list of files that a distribution has installed.

/// One line: a path relative to site-packages, hash and size as they stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The path.
    pub path: String,
    /// The line as it stands in the file, without its end.
    pub text: String,
}

/// Reads a RECORD: CSV with `"` around fields that hold commas, quotes or line ends.
pub fn parse(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        rest = after;
        let path = first_field(line);
        if !path.is_empty() {
            lines.push(Line { path, text: line.to_owned() });
        }
    }
    lines
}

/// Splits off the first line; an end of line inside quotes does not end it.
fn split_line(text: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '\n' if !quoted => {
                let line = &text[..at];
                return (line.strip_suffix('\r').unwrap_or(line), &text[at + 1..]);
            }
            _ => {}
        }
    }
    (text, "")
}

fn first_field(line: &str) -> String {
    let Some(quoted) = line.strip_prefix('"') else {
        return line.split(',').next().unwrap_or_default().to_owned();
    };
    let mut field = String::new();
    let mut characters = quoted.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '"' {
            field.push(character);
        } else if characters.next_if_eq(&'"').is_some() {
            field.push('"');
        } else {
            break;
        }
    }
    field
}

/// Where a RECORD's path is from the environment's root, for a RECORD in `site_packages` (itself
/// from the root). `None` where it is absolute, leads outside, or is no plain path.
pub fn resolve(site_packages: &str, path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = site_packages.split('/').collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_may_be_quoted() {
        let text = "a/b.py,sha256=x,3\r\n\"odd, \"\"name\"\"\n.py\",,\nlast,,";
        let paths: Vec<_> = parse(text).into_iter().map(|line| line.path).collect();
        assert_eq!(paths, ["a/b.py", "odd, \"name\"\n.py", "last"]);
    }

    #[test]
    fn paths_stay_inside() {
        let site = "lib/python3.11/site-packages";
        assert_eq!(resolve(site, "x/y.py").as_deref(), Some("lib/python3.11/site-packages/x/y.py"));
        assert_eq!(resolve(site, "../../../bin/f2py").as_deref(), Some("bin/f2py"));
        for outside in ["../../../../etc/passwd", "/etc/passwd", "../../..", "x/../../../../.."] {
            assert_eq!(resolve(site, outside), None, "{outside}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[a-z\",\n\r./]{0,80}") {
            for line in parse(&text) {
                if let Some(path) = resolve("lib/p/s", &line.path) {
                    prop_assert!(!path.split('/').any(|part| part == ".." || part.is_empty()));
                }
            }
        }
    }
}
