//! `pipsqueak explain`: which zygote serves a function, and why.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use pipsqueak::size;
use pipsqueak::wire::{Explanation, Reply, Request, UnsafeModule};

use super::args::{Explain, Places};
use super::failure::{Exit, Failure};
use super::progress::Meter;
use super::{ask, output};

/// Modules that are named of a longer list.
const SHOWN: usize = 3;

/// Carries the verb out.
pub fn run(places: &Places, explain: Explain) -> Result<Exit, Failure> {
    let request = Request::Explain { function: explain.name };
    match ask(places, &request, Meter::still())? {
        Reply::Explanation(explanation) if explain.format.json => output::json(&explanation),
        Reply::Explanation(explanation) => output::print(&describe(&explanation)),
        _ => Err(Failure::WrongReply),
    }
}

fn describe(explanation: &Explanation) -> String {
    let Explanation {
        function,
        learned,
        unlike,
        apart,
        standbys,
        starts_per_minute,
        imports,
        zygotes,
        unsafe_modules,
    } = explanation;
    let mut text = String::new();
    let how = if *learned { "as its starts have told" } else { "as its code lets expect" };
    let _ = writeln!(text, "function      {function}, {starts_per_minute:.1} new starts a minute");
    if imports.is_empty() {
        let _ = writeln!(text, "imports       no packages, {how}");
    }
    for (place, one) in imports.iter().enumerate() {
        let label = if place == 0 { "imports" } else { "" };
        let suffix = if place == 0 { format!(", {how}") } else { String::new() };
        let _ = writeln!(
            text,
            "{label:<13} {} ({} modules, {}, {}){suffix}",
            one.distribution,
            one.modules,
            time(one.us),
            size::format(one.bytes)
        );
    }
    if let Some(reason) = unlike {
        let reason = output::harmless(reason);
        let _ = writeln!(text, "served by     no zygote: {reason}");
    } else if !zygotes.iter().any(|one| one.serves) {
        let _ = writeln!(text, "served by     no zygote: an interpreter is started for it");
    }
    for one in zygotes {
        let label = if one.serves { "served by" } else { "not by" };
        let saves = one.saves_us.map_or_else(String::new, |us| format!("; saves {}", time(us)));
        let _ = writeln!(text, "{label:<13} zygote {}: {}{saves}", one.zygote, one.reason);
    }
    if *standbys > 0 {
        let _ = writeln!(text, "stand by      {standbys}, with all of it imported");
    }
    if !apart.is_empty() {
        let _ = writeln!(text, "told apart    by {}", output::harmless(&apart.join(", ")));
    }
    for (reason, modules) in by_reason(unsafe_modules) {
        let named = modules.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = modules.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ = writeln!(text, "unsafe        {named}{more}: {reason}");
    }
    text
}

/// The modules that are unsafe for each reason.
fn by_reason(modules: &[UnsafeModule]) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in modules {
        found.entry(&one.reason).or_default().push(&one.module);
    }
    found
}

fn time(us: u64) -> String {
    format!("{:.1?}", Duration::from_micros(us))
}

#[cfg(test)]
mod tests {
    use pipsqueak::wire::{Imports, Verdict};

    use super::*;

    #[test]
    fn who_serves_and_who_does_not_is_told_with_reasons() {
        let verdict = |zygote, serves, reason: &str, saves_us| Verdict {
            zygote,
            serves,
            reason: reason.to_owned(),
            left_us: None,
            saves_us,
        };
        let mut explanation = Explanation {
            function: "report".to_owned(),
            learned: true,
            unlike: None,
            apart: vec!["variable MPLBACKEND".to_owned()],
            standbys: 2,
            starts_per_minute: 0.25,
            imports: vec![Imports {
                distribution: "six==1.17.0".to_owned(),
                modules: 1,
                us: 1500,
                bytes: 1 << 20,
            }],
            zygotes: vec![
                verdict(3, true, "has all of it", Some(20_000)),
                verdict(4, false, "has seen flask==3.0", None),
            ],
            unsafe_modules: ["threaded", "threaded.a", "threaded.b", "threaded.c", "threaded.d"]
                .map(|module| UnsafeModule {
                    module: module.to_owned(),
                    reason: "leaves a thread".to_owned(),
                })
                .to_vec(),
        };
        let text = describe(&explanation);
        for part in [
            "report, 0.2 new starts a minute",
            "six==1.17.0 (1 modules, 1.5ms, 1.0 MiB), as its starts have told\n",
            "served by     zygote 3: has all of it; saves 20.0ms\n",
            "not by        zygote 4: has seen flask==3.0\n",
            "stand by      2, with all of it imported\n",
            "told apart    by variable MPLBACKEND\n",
            "unsafe        threaded, threaded.a, threaded.b and 2 more: leaves a thread\n",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        explanation.zygotes.clear();
        assert!(describe(&explanation).contains("no zygote: an interpreter is started"));
    }
}
