//! Requirements of a wheel, by its metadata (core metadata; PEP 508 for markers).

use std::collections::BTreeSet;

use pipsqueak::wire::Requirements;

/// A comparison that holds for every Python, in the place of one that has been made here.
const TRUE: &str = "python_version >= '0'";

/// The requirements of a wheel with `extras`, in a form that needs no knowledge of the wheel:
/// comparisons with these extras hold, and requirements of the wheel itself are resolved.
pub fn requirements(metadata: &str, extras: &[String]) -> Result<Requirements, String> {
    let fields = fields(metadata);
    let all = |key: &'static str| {
        let of = move |(name, _): &&(&str, String)| name.eq_ignore_ascii_case(key);
        fields.iter().filter(of).map(|(_, value)| value.as_str())
    };
    let own = all("Name").next().map(normalised).ok_or("its metadata has no Name")?;
    let provided: BTreeSet<_> = all("Provides-Extra").map(normalised).collect();
    let mut active: BTreeSet<_> = extras.iter().map(|extra| normalised(extra)).collect();
    if let Some(unknown) = active.difference(&provided).next() {
        let provided: Vec<_> = provided.iter().map(String::as_str).collect();
        return Err(format!("it has no extra {unknown}; those it has: {}", provided.join(", ")));
    }
    let lines: Vec<Line> = all("Requires-Dist").map(Line::of).collect();
    // `own[a]; extra == 'b'` means that extra b brings extra a.
    loop {
        let more: BTreeSet<_> = lines
            .iter()
            .filter(|line| line.name == own && line.holds_for(&active))
            .flat_map(|line| line.extras.iter().cloned())
            .collect();
        if more.is_subset(&active) {
            break;
        }
        active.extend(more);
    }
    let others = lines.iter().filter(|line| line.name != own);
    Ok(Requirements::Listed {
        requirements: others.map(|line| line.with(&active)).collect(),
        constraints: Vec::new(),
        requires_python: all("Requires-Python").next().map(ToOwned::to_owned),
        allow_build: false,
        is_brought: true,
    })
}

/// Names between commas.
pub fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(normalised).collect()
}

fn normalised(name: &str) -> String {
    let parts = name.trim().split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// The headers ahead of the description, those that go on in further lines joined.
fn fields(metadata: &str) -> Vec<(&str, String)> {
    let mut fields: Vec<(&str, String)> = Vec::new();
    for line in metadata.lines().take_while(|line| !line.is_empty()) {
        let more = line.strip_prefix([' ', '\t']).map(str::trim);
        if let Some((more, (_, value))) = more.zip(fields.last_mut()) {
            *value = format!("{value} {more}");
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name, value.trim().to_owned()));
        }
    }
    fields
}

/// A requirement.
struct Line {
    name: String,
    extras: Vec<String>,
    /// All but the marker.
    what: String,
    marker: Vec<String>,
}

impl Line {
    fn of(text: &str) -> Self {
        // A semicolon may be in an address, which a blank ends.
        let end = if text.contains('@') { " ;" } else { ";" };
        let (what, marker) = text.split_once(end).unwrap_or((text, ""));
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let (name, rest) = what.split_at(what.find(|c| !is_of_name(c)).unwrap_or(what.len()));
        let extras = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']'));
        Self {
            name: normalised(name),
            extras: extras.map_or_else(Vec::new, |(extras, _)| names(extras)),
            what: what.trim().to_owned(),
            marker: words(marker),
        }
    }

    /// Places of the marker's comparisons `extra == '…'`, with the extras.
    fn comparisons(&self) -> impl Iterator<Item = (usize, String)> {
        self.marker.windows(3).enumerate().filter_map(|(at, three)| {
            let [one, operator, other] = three else { return None };
            let (("extra", extra) | (extra, "extra")) = (one.as_str(), other.as_str()) else {
                return None;
            };
            (operator == "==").then(|| (at, normalised(extra.trim_matches(['\'', '"']))))
        })
    }

    /// True if the requirement is for one of these extras, or for none at all.
    fn holds_for(&self, active: &BTreeSet<String>) -> bool {
        let mut extras = self.comparisons().map(|(_, extra)| extra).peekable();
        extras.peek().is_none() || extras.any(|extra| active.contains(&extra))
    }

    /// The requirement, if these extras are wanted.
    fn with(&self, active: &BTreeSet<String>) -> String {
        let mut marker = self.marker.clone();
        for (at, extra) in self.comparisons() {
            if active.contains(&extra) {
                TRUE.clone_into(&mut marker[at]);
                marker[at + 1].clear();
                marker[at + 2].clear();
            }
        }
        marker.retain(|word| !word.is_empty());
        if marker.is_empty() {
            self.what.clone()
        } else {
            format!("{} ; {}", self.what, marker.join(" "))
        }
    }
}

/// The words of a marker: names, operators, quoted texts, brackets.
fn words(marker: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = marker.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let is_operator = |c: char| matches!(c, '<' | '>' | '=' | '!' | '~');
        let end = match first {
            '\'' | '"' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            c if is_operator(c) => rest.find(|c| !is_operator(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        words.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = "\
Metadata-Version: 2.4
Name: My.Pkg
Version: 1.0
Requires-Python: >=3.9
Provides-Extra: web
Provides-Extra: all
Provides-Extra: data_base
Requires-Dist: six (>=1.0)
Requires-Dist: idna; python_version < \"4\"
Requires-Dist: flask[async] ~= 3.0 ; extra=='web'
Requires-Dist: sqlalchemy;
  'data-base' == extra and (os_name=='posix' or extra == 'web')
Requires-Dist: my-pkg[web,data.base] ; extra == \"all\"
Requires-Dist: x @ https://host/x;y.whl ; extra == 'web'

Requires-Dist: nothing
";

    fn lines(extras: &[&str]) -> Vec<String> {
        let extras: Vec<_> = extras.iter().map(|extra| (*extra).to_owned()).collect();
        let Ok(Requirements::Listed { requirements, requires_python, .. }) =
            requirements(METADATA, &extras)
        else {
            panic!("refused")
        };
        assert_eq!(requires_python.as_deref(), Some(">=3.9"));
        requirements
    }

    #[test]
    fn a_wheel_needs_what_its_metadata_says() {
        let expected = [
            "six (>=1.0)",
            "idna ; python_version < \"4\"",
            "flask[async] ~= 3.0 ; extra == 'web'",
            "sqlalchemy ; 'data-base' == extra and ( os_name == 'posix' or extra == 'web' )",
            "x @ https://host/x;y.whl ; extra == 'web'",
        ];
        assert_eq!(lines(&[]), expected);
    }

    #[test]
    fn extras_hold_for_the_wheel_that_has_them() {
        let web = lines(&["Web"]);
        assert_eq!(web[2], "flask[async] ~= 3.0 ; python_version >= '0'");
        assert!(web[3].starts_with("sqlalchemy ; 'data-base' == extra and"), "{web:?}");
        let all = lines(&["all"]);
        assert_eq!(all.len(), 5);
        assert!(all.iter().all(|line| !line.contains("extra")), "{all:?}");
        let error = requirements(METADATA, &["none".to_owned()]).unwrap_err();
        assert!(error.contains("none") && error.contains("all, data-base, web"), "{error}");
        assert!(requirements("", &[]).is_err());
    }
}
