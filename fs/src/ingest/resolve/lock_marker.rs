//! Markers of locks that ask what is wanted of a project: its extras and its groups. Nobody can say
//! that here, so what is wanted is what the lock has by default.

use crate::ingest::requirement::normalise;

/// Markers that always hold, and never.
const ALWAYS: &str = "python_version >= '0'";
const NEVER: &str = "python_version < '0'";

/// A marker in which each question for a group is answered by whether that is among `groups`, and for an
/// extra by no. `None` if a question is asked in another way.
pub fn answer(marker: &str, groups: &[String]) -> Option<String> {
    let mut answered = String::new();
    let mut rest = marker;
    while let Some(at) = rest.find(['\'', '"']) {
        let (before, quoted) = rest.split_at(at);
        let quote = quoted.chars().next()?;
        let (name, after) = quoted.get(1..)?.split_once(quote)?;
        if is_question(before) {
            return None;
        }
        answered.push_str(before);
        if let Some((is_in, set, after)) = membership(after) {
            let is_group = |group: &String| normalise(group) == normalise(name);
            let holds = set == Set::Groups && groups.iter().any(is_group);
            answered.push_str(if holds == is_in { ALWAYS } else { NEVER });
            rest = after;
        } else {
            answered.push(quote);
            answered.push_str(name);
            answered.push(quote);
            rest = after;
        }
    }
    answered.push_str(rest);
    (!is_question(rest)).then_some(answered)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Extras,
    Groups,
}

/// Reads a question for membership: true if a name must be in a set, the set, and what follows.
fn membership(after: &str) -> Option<(bool, Set, &str)> {
    let (is_in, after) = match word(after) {
        ("in", after) => (true, after),
        ("not", after) => (false, after_word(after, "in")?),
        _ => return None,
    };
    match word(after) {
        ("extras", after) => Some((is_in, Set::Extras, after)),
        ("dependency_groups", after) => Some((is_in, Set::Groups, after)),
        _ => None,
    }
}

fn after_word<'a>(text: &'a str, expected: &str) -> Option<&'a str> {
    let (found, after) = word(text);
    (found == expected).then_some(after)
}

/// The first word of a text, and what follows.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()))
}

/// True if a text without quotes names a set.
fn is_question(text: &str) -> bool {
    text.contains("extras") || text.contains("dependency_groups")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_a_project_is_answered_by_what_it_has_by_default() {
        let groups = ["default".to_owned(), "Dev_Tools".to_owned()];
        let answer = |marker: &str| answer(marker, &groups);
        for (marker, is) in [
            ("", ""),
            ("sys_platform == 'linux'", "sys_platform == 'linux'"),
            ("\"extras\" == 'in extras'", "\"extras\" == 'in extras'"),
            ("'default' in dependency_groups", ALWAYS),
            ("'dev-tools'  not  in dependency_groups", NEVER),
            ("\"docs\" in dependency_groups", NEVER),
            ("'default' in extras", NEVER),
        ] {
            assert_eq!(answer(marker).as_deref(), Some(is), "{marker}");
        }
        assert_eq!(
            answer("('a' not in extras) and ('default' in dependency_groups or os_name=='nt')"),
            Some(format!("({ALWAYS}) and ({ALWAYS} or os_name=='nt')"))
        );
        for marker in ["extras == 'a'", "'a", "extras", "'a' in dependency_groups and extras"] {
            assert_eq!(answer(marker), None, "{marker}");
        }
    }
}
