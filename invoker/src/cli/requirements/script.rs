//! The block of metadata in a single-file script (PEP 723).

use serde::Deserialize;

/// The block of a script.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Script {
    /// Packages that the script imports, as requirements.
    pub dependencies: Vec<String>,
    /// Versions of Python that the script runs on.
    pub requires_python: Option<String>,
}

/// Reads a script's block; `None` if there is none, or one that is not closed. Two are an error.
pub fn read(text: &str) -> Result<Option<Script>, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = None;
    let mut at = 0;
    while at < lines.len() {
        let Some((kind, end)) = block_at(&lines, at) else {
            at += 1;
            continue;
        };
        if kind == "script" && found.replace(at + 1..end).is_some() {
            return Err(format!("line {}: a second `# /// script` block", at + 1));
        }
        at = end + 1;
    }
    let Some(block) = found else { return Ok(None) };
    let content: Vec<&str> = lines[block.clone()]
        .iter()
        .map(|line| line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or(line))
        .collect();
    let content = content.join("\n");
    toml::from_str(&content).map(Some).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(content.len()));
        let before = content.get(..start).unwrap_or_default().matches('\n').count();
        format!("line {}: {}", block.start + before + 1, error.message())
    })
}

/// The kind of the block that begins at a line, and the line that closes it: the last such line
/// before one that is no comment.
fn block_at<'a>(lines: &[&'a str], at: usize) -> Option<(&'a str, usize)> {
    let kind = lines[at].strip_prefix("# /// ")?;
    if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return None;
    }
    let inside = lines[at + 1..].iter().take_while(|line| **line == "#" || line.starts_with("# "));
    let last = inside.enumerate().filter(|(_, line)| **line == "# ///").last()?.0;
    // A block has a line at least.
    (last > 0).then_some((kind, at + 1 + last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read() {
        let text = "#!/usr/bin/env python\n\n# /// script\n# requires-python = \">=3.11\"\n\
                    # dependencies = [\n#   \"requests<3\",\n#\n#   'rich',\n# ]\n# [tool.x]\n\
                    # y = 1\n# ///\n\nimport requests\n";
        let script = read(text).unwrap().unwrap();
        assert_eq!(script.dependencies, ["requests<3", "rich"]);
        assert_eq!(script.requires_python.as_deref(), Some(">=3.11"));
        assert_eq!(read(&text.replace('\n', "\r\n")).unwrap(), Some(script));
    }

    #[test]
    fn a_block_ends_with_its_last_closing_line() {
        let text = "# /// script\n# dependencies = ['a']\n# x = '''\n# ///\n# '''\n# ///\n";
        assert_eq!(read(text).unwrap().unwrap().dependencies, ["a"]);
    }

    #[test]
    fn what_is_no_block_is_ignored() {
        for text in [
            "",
            "# /// script\n# dependencies = []\n",
            "# /// script\n# dependencies = []\nx = 1\n# ///\n",
            "# /// script\n# ///\n",
            "# /// other\n# x = 1\n# ///\n",
            "  # /// script\n# x = 1\n# ///\n",
            "#/// script\n# x = 1\n# ///\n",
        ] {
            assert_eq!(read(text), Ok(None), "{text}");
        }
        assert_eq!(read("# /// script\n#\n# ///\n"), Ok(Some(Script::default())));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let block = "# /// script\n# dependencies = []\n# ///\n";
        assert!(read(&format!("{block}\n{block}")).unwrap_err().starts_with("line 5: a second"));
        let error = read("\n# /// script\n# x = 1\n# dependencies = 3\n# ///\n").unwrap_err();
        assert!(error.starts_with("line 4: "), "{error}");
    }
}
