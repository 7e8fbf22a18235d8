//! Costs of a zygote's imports, and state that they have left and no fork can have.

use std::collections::BTreeMap;

use crate::protocol::Imported;

/// Modules that cannot be in a zygote, each with the reason.
pub type Unsafe = BTreeMap<String, String>;

/// Modules that have left a hazard, except those that are `trusted` themselves or by a package around them.
pub fn unsafe_ones(imported: &[Imported], trusted: &[String]) -> Unsafe {
    imported
        .iter()
        .filter(|one| !one.hazards.is_empty() && !is_trusted(&one.module, trusted))
        .map(|one| (one.module.clone(), one.hazards.join(", ")))
        .collect()
}

/// True if some of the modules are trusted, whatever they leave.
pub fn are_trusted(modules: &[String], trusted: &[String]) -> bool {
    modules.iter().any(|module| is_trusted(module, trusted))
}

fn is_trusted(module: &str, trusted: &[String]) -> bool {
    trusted.iter().any(|name| {
        module
            .strip_prefix(name.as_str())
            .is_some_and(|rest| matches!(rest.get(..1), None | Some(".")))
    })
}

/// Names that are shown of a longer list.
const SHOWN: usize = 3;

/// The first of many names, and the number of the others.
pub fn shortened(mut names: impl ExactSizeIterator<Item = impl AsRef<str>>) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let first: Vec<_> = names.by_ref().take(SHOWN).collect();
    let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
    format!("{}{more}", first.join(", "))
}

/// Groups of unsafe modules with one reason, as text for a user.
pub fn by_reason(found: &Unsafe) -> Vec<(String, &str)> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (module, why) in found {
        reasons.entry(why).or_default().push(module);
    }
    let mut named: Vec<_> =
        reasons.into_iter().map(|(why, modules)| (shortened(modules.iter()), why)).collect();
    named.sort();
    named
}

/// Unsafe modules and reasons as one text.
pub fn describe(found: &Unsafe) -> String {
    let each = by_reason(found).into_iter().map(|(modules, why)| format!("{modules} {why}"));
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(module: &str, hazards: &[&str]) -> Imported {
        Imported {
            module: module.to_owned(),
            us: 1,
            bytes: 1,
            hazards: hazards.iter().map(|&hazard| hazard.to_owned()).collect(),
            remarks: vec!["registers an atexit handler".to_owned()],
        }
    }

    #[test]
    fn hazards_make_unsafe_unless_the_module_or_its_package_is_trusted() {
        let all = [
            imported("fine", &[]),
            imported("one", &["leaves a socket open", "leaves a thread running: T"]),
            imported("pack.sub", &["leaves a socket open"]),
            imported("package", &["leaves a socket open"]),
        ];
        let found = unsafe_ones(&all, &["pack".to_owned()]);
        assert_eq!(
            describe(&found),
            "one leaves a socket open, leaves a thread running: T; package leaves a socket open"
        );
        let same = ["a", "b", "c", "d", "e"].map(|name| imported(name, &["leaves a socket open"]));
        let same = unsafe_ones(&same, &[]);
        assert_eq!(describe(&same), "a, b, c and 2 more leaves a socket open");
        let trusted = ["one", "pack.sub", "package"].map(ToOwned::to_owned);
        assert_eq!(unsafe_ones(&all, &trusted), Unsafe::new());
    }
}
