//! `pipsqueak help`: the flags of a command, and the pages of the guide.

use clap::CommandFactory;

use super::args::Arguments;
use super::failure::{Exit, Failure};
use super::output;

/// Pages that are in the program, by their names.
const PAGES: [(&str, &str); 14] = [
    ("start", include_str!("../../../docs/src/start.md")),
    ("functions", include_str!("../../../docs/src/guide/functions.md")),
    ("packages", include_str!("../../../docs/src/guide/packages.md")),
    ("containers", include_str!("../../../docs/src/guide/containers.md")),
    ("network", include_str!("../../../docs/src/guide/network.md")),
    ("load", include_str!("../../../docs/src/guide/load.md")),
    ("streams", include_str!("../../../docs/src/guide/streams.md")),
    ("logs", include_str!("../../../docs/src/guide/logs.md")),
    ("events", include_str!("../../../docs/src/guide/events.md")),
    ("zygotes", include_str!("../../../docs/src/guide/zygotes.md")),
    ("operate", include_str!("../../../docs/src/guide/operate.md")),
    ("commands", include_str!("../../../docs/src/reference/commands.md")),
    ("settings", include_str!("../../../docs/src/reference/settings.md")),
    ("secrets", include_str!("../../../docs/src/security/secrets.md")),
];

/// Carries the verb out.
pub fn run(words: &[String]) -> Result<Exit, Failure> {
    output::print(&text(words)?)
}

/// The help of a command, the page of that name, or both.
fn text(words: &[String]) -> Result<String, Failure> {
    let usage = usage(words);
    let page = match words {
        [name] => PAGES.iter().find(|(topic, _)| topic == name).map(|(_, page)| *page),
        _ => None,
    };
    match (usage, page) {
        (Some(usage), Some(page)) => Ok(format!("{usage}\n{page}")),
        (None, Some(page)) => Ok(page.to_owned()),
        (Some(usage), None) if words.is_empty() => Ok(format!("{usage}\nPages: {}\n", topics())),
        (Some(usage), None) => Ok(usage),
        (None, None) => Err(Failure::Input(format!(
            "{:?} is neither a command nor a page; pages are {}",
            words.join(" "),
            topics()
        ))),
    }
}

/// The help of a command, if there is one of these words.
fn usage(words: &[String]) -> Option<String> {
    let mut command = Arguments::command();
    command.build();
    let mut found = &mut command;
    for word in words {
        found = found.find_subcommand_mut(word)?;
    }
    Some(found.render_long_help().to_string())
}

fn topics() -> String {
    PAGES.map(|(topic, _)| topic).join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn of(words: &[&str]) -> Result<String, Failure> {
        text(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn commands_and_pages_are_found_by_their_names() {
        let all = of(&[]).unwrap();
        assert!(all.contains("Usage: pipsqueak") && all.contains("Pages: start, functions"));
        assert!(of(&["env", "add"]).unwrap().contains("Usage: pipsqueak env add"));
        assert!(of(&["network"]).unwrap().starts_with("# Functions with a network"));
        let both = of(&["logs"]).unwrap();
        assert!(both.contains("Usage: pipsqueak logs") && both.contains("\n# Logs\n"));
        let error = of(&["weather"]).unwrap_err().to_string();
        assert!(error.contains("\"weather\" is neither a command nor a page"), "{error}");
    }

    #[test]
    fn every_page_of_the_guide_is_in_the_program() {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/guide");
        let pages = std::fs::read_dir(guide).unwrap().map(|entry| entry.unwrap().path());
        let names: BTreeSet<_> =
            pages.map(|page| page.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        let known: BTreeSet<_> = PAGES.iter().map(|(topic, _)| (*topic).to_owned()).collect();
        assert!(names.is_subset(&known), "{names:?}");
    }
}
