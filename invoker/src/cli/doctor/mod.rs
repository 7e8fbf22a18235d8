//! `pipsqueak doctor`: the machine's state against the needs, with advice for each lack.

mod cgroups;
mod finding;
mod kernel;
mod places;
mod programs;

use finding::{Finding, Verdict};
pub use kernel::try_namespaces;
use pipsqueak::settings::Settings;

use super::args::{Format, Places};
use super::failure::{Exit, Failure};
use super::output;

/// Carries the verb out.
pub fn run(places: Places, format: &Format) -> Result<Exit, Failure> {
    let settings = Settings::resolve(places.0)?;
    let findings = examine(&settings);
    if format.json {
        output::json(&findings)?;
    } else {
        output::print(&describe(&findings))?;
    }
    Ok(exit_of(&findings))
}

fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = kernel::examine();
    findings.extend(cgroups::examine());
    findings.extend(programs::examine(settings));
    findings.extend(places::examine(settings));
    findings
}

/// Limits of functions that this machine cannot keep, each in a line.
pub fn missing_limits() -> Vec<String> {
    let findings = cgroups::examine().into_iter();
    let lost = findings.filter(|finding| finding.verdict == Verdict::Warning);
    lost.map(|Finding { check, found, .. }| format!("{check}: {found}")).collect()
}

fn exit_of(findings: &[Finding]) -> Exit {
    let lacks = findings.iter().any(|finding| finding.verdict == Verdict::Missing);
    if lacks { Exit::Internal } else { Exit::Done }
}

fn describe(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Missing => "MISSING",
        };
        let advice = finding.advice.as_ref();
        let advice = advice.map_or_else(String::new, |text| format!("{:10}-> {text}\n", ""));
        format!("{verdict:8}  {}: {}\n{advice}", finding.check, finding.found)
    };
    findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_fails() {
        let ok = Finding::ok("a", "x");
        let warning = Finding::warning("b", "y", "do z");
        let missing = Finding::missing("c", "no", "get it");
        assert_eq!(exit_of(&[ok.clone(), warning.clone()]), Exit::Done);
        let all = [ok, warning, missing];
        assert_eq!(exit_of(&all), Exit::Internal);
        let text = describe(&all);
        assert!(text.starts_with("ok        a: x\nwarning   b: y\n          -> do z\n"), "{text}");
        let json = serde_json::to_value(&all).unwrap();
        assert_eq!(json[0]["advice"], serde_json::Value::Null);
        assert_eq!(json[2]["verdict"], "missing");
    }
}
