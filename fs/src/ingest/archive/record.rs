//! RECORD: the list of files that a distribution has installed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A line: a path relative to site-packages, hash and size as they stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEntry {
    /// The path.
    pub path: String,
    /// Hash and size as they stand there.
    pub fields: (String, String),
    /// Content of the file, as hash and size say it.
    pub claim: RecordedContent,
}

/// Content of a file, as a RECORD says it. Nothing but SHA-256 is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedContent {
    /// SHA-256 in URL-safe Base64 without padding.
    pub sha256: Option<String>,
    /// Size in bytes.
    pub size: Option<u64>,
}

impl RecordedContent {
    /// True if content of this size and SHA-256 is what is claimed of it.
    pub fn holds(&self, size: u64, sha256: &[u8]) -> bool {
        self.size.is_none_or(|claimed| claimed == size)
            && self.sha256.as_ref().is_none_or(|claimed| *claimed == URL_SAFE_NO_PAD.encode(sha256))
    }
}

/// Reads a RECORD: CSV with `"` around fields that hold commas, quotes or line ends.
pub fn parse(text: &str) -> Vec<RecordEntry> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        rest = after;
        let path = first_field(line);
        if !path.is_empty() {
            let fields = fields_of(line);
            lines.push(RecordEntry { path, claim: claim_of(&fields), fields });
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

/// Hash and size: the last two fields, which hold no comma.
fn fields_of(line: &str) -> (String, String) {
    let mut fields = line.rsplitn(3, ',');
    match (fields.next(), fields.next(), fields.next()) {
        (Some(size), Some(hash), Some(_)) => {
            let plain = |field: &str| field.trim_matches('"').to_owned();
            (plain(hash), plain(size))
        }
        _ => (String::new(), String::new()),
    }
}

fn claim_of((hash, size): &(String, String)) -> RecordedContent {
    let sha256 = hash.strip_prefix("sha256=");
    let sha256 = sha256.map(|digest| digest.trim_end_matches('=').to_owned());
    RecordedContent { sha256, size: size.parse().ok() }
}

/// The folder of an environment that is a link to [`LIB`] in each, as virtual environments have it.
const LIB64: &str = "lib64";
const LIB: &str = "lib";

/// Resolves a RECORD's path to one from the environment's root, for a RECORD in `site_packages` (itself
/// from the root), behind the link that every environment has. `None` if it is absolute, leads outside,
/// or is no plain path.
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
    if parts.is_empty() {
        return None;
    }
    Some(behind_link(&parts.join("/")))
}

/// Path behind the link that every environment has, both from its root.
pub fn behind_link(path: &str) -> String {
    match path.split_once('/') {
        Some((LIB64, rest)) => format!("{LIB}/{rest}"),
        _ if path == LIB64 => LIB.to_owned(),
        _ => path.to_owned(),
    }
}

/// A path of an archive's RECORD as the archive has it. `None` if it leads elsewhere.
pub fn plain(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let is_inside = !path.starts_with('/') && !parts.is_empty() && !parts.contains(&"..");
    is_inside.then(|| parts.join("/"))
}

/// A line for a file, with what is said of its content.
pub fn line(path: &str, hash: &str, size: &str) -> String {
    let is_special = path.contains(['"', ',', '\n', '\r']);
    let path =
        if is_special { format!("\"{}\"", path.replace('"', "\"\"")) } else { path.to_owned() };
    format!("{path},{hash},{size}\n")
}

/// The text of a SHA-256 in a line.
pub fn hash_text(sha256: &[u8]) -> String {
    format!("sha256={}", URL_SAFE_NO_PAD.encode(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn fields_may_be_quoted() {
        let text = "a/b.py,sha256=x,3\r\n\"odd, \"\"name\"\"\n.py\",,\nlast,,";
        let paths: Vec<_> = parse(text).into_iter().map(|line| line.path).collect();
        assert_eq!(paths, ["a/b.py", "odd, \"name\"\n.py", "last"]);
    }

    #[test]
    fn claims_are_told_from_lies() {
        let text =
            "a,sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ,5\n\"b,c\",,5\nd,sha512=x,\n";
        let claims: Vec<_> = parse(text).into_iter().map(|line| line.claim).collect();
        let holds = |which: usize, content: &[u8]| {
            claims[which].holds(content.len() as u64, &Sha256::digest(content))
        };
        assert!(holds(0, b"hello") && !holds(0, b"hullo"));
        assert!(holds(1, b"hullo") && !holds(1, b"longer"));
        assert_eq!(claims[2], RecordedContent::default());
    }

    #[test]
    fn paths_stay_inside() {
        let site = "lib/python3.11/site-packages";
        assert_eq!(resolve(site, "x/y.py").as_deref(), Some("lib/python3.11/site-packages/x/y.py"));
        assert_eq!(resolve(site, "../../../bin/f2py").as_deref(), Some("bin/f2py"));
        assert_eq!(resolve(site, "../../../lib64/x/y.so").as_deref(), Some("lib/x/y.so"));
        assert_eq!(resolve(site, "../../lib64/x").as_deref(), Some("lib/lib64/x"));
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
