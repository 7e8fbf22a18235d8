//! `ol.yaml`, by which OpenLambda configures a function.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Name of the file in a function's folder.
pub const FILE: &str = "ol.yaml";

/// Content of a function's `ol.yaml`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OpenLambda {
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// HTTP methods that the function answers; all if there are none.
    pub methods: Vec<String>,
    /// Schedules, as cron writes them.
    pub schedules: Vec<String>,
    /// Keys that mean nothing here, as paths.
    pub unknown: Vec<String>,
}

/// Reads the text of an `ol.yaml`; an error has the place in the text.
pub fn read(text: &str) -> Result<OpenLambda, String> {
    let file: Option<File> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let File { environment, triggers, reuse, others } = file.unwrap_or_default();
    let triggers = triggers.unwrap_or_default();
    let reuse = reuse.filter(|reuse| !reuse).map(|_| "reuse-sandbox".to_owned());
    let inner = triggers.others.into_keys().map(|key| format!("triggers.{key}"));
    let methods = triggers.http.unwrap_or_default().into_iter().map(|one| one.method);
    let methods: Vec<_> = methods.map(|method| method.to_ascii_uppercase()).collect();
    let is_any = methods.iter().any(|method| method == "*");
    Ok(OpenLambda {
        variables: environment.unwrap_or_default(),
        methods: if is_any { Vec::new() } else { methods },
        schedules: triggers.cron.unwrap_or_default().into_iter().map(|one| one.schedule).collect(),
        unknown: others.into_keys().chain(inner).chain(reuse).collect(),
    })
}

#[derive(Debug, Default, Deserialize)]
struct File {
    environment: Option<BTreeMap<String, String>>,
    triggers: Option<Triggers>,
    /// Sandboxes are always used again; a function cannot turn that off.
    #[serde(rename = "reuse-sandbox")]
    reuse: Option<bool>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Triggers {
    http: Option<Vec<Http>>,
    cron: Option<Vec<Cron>>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Http {
    method: String,
}

#[derive(Debug, Deserialize)]
struct Cron {
    schedule: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_openlambda_says_is_read() {
        let text = "
triggers:
  http:
    - method: GET
    - method: post
  cron:
    - schedule: '*/5 * * * *'
    - schedule: \"@hourly\"
  kafka:
    - topics: [a]
environment:
  OL_ENTRY_FILE: app.py
  PORT: 8080
  DEBUG: true
reuse-sandbox: true
limits: {memory: 50}
";
        let expected = OpenLambda {
            variables: [("DEBUG", "true"), ("OL_ENTRY_FILE", "app.py"), ("PORT", "8080")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            methods: vec!["GET".to_owned(), "POST".to_owned()],
            schedules: vec!["*/5 * * * *".to_owned(), "@hourly".to_owned()],
            unknown: vec!["limits".to_owned(), "triggers.kafka".to_owned()],
        };
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn what_says_nothing_is_nothing() {
        for text in
            ["", "# nothing\n", "environment:\ntriggers:\n", "triggers: {http: [{method: '*'}]}"]
        {
            assert_eq!(read(text), Ok(OpenLambda::default()), "{text}");
        }
        let unknown = read("reuse-sandbox: false\n").unwrap().unknown;
        assert_eq!(unknown, ["reuse-sandbox"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for text in ["environment: [a]\n", "triggers:\n  cron:\n    - at: x\n", "a: [\n", "- a\n"] {
            let error = read(text).unwrap_err();
            assert!(error.contains("line"), "{text}: {error}");
        }
    }
}
