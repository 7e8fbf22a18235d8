//! `pipsqueak zygotes`: interpreters with packages imported.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use pipsqueak::size;
use pipsqueak::wire::{Reply, Request, ZygoteInfo};

use super::args::{Places, ZygotesVerb};
use super::failure::{Exit, Failure};
use super::progress::Meter;
use super::{ask, ask_status, output};

/// Modules that are named of one zygote.
const SHOWN: usize = 6;
/// Longest file of trees, in bytes.
const MOST_BYTES: u64 = 4 << 20;

/// Carries the verb out.
pub fn run(places: &Places, verb: ZygotesVerb) -> Result<Exit, Failure> {
    match verb {
        ZygotesVerb::Ls(format) => {
            let zygotes = ask_status(places)?.zygotes;
            if format.json { output::json(&zygotes) } else { output::print(&list(&zygotes)) }
        }
        ZygotesVerb::Tree => output::print(&tree(&ask_status(places)?.zygotes)),
        ZygotesVerb::Export => match ask(places, &Request::ZygotesExport, Meter::still())? {
            Reply::Trees { trees } => output::line(trees),
            _ => Err(Failure::WrongReply),
        },
        ZygotesVerb::Import { file } => {
            let request = Request::ZygotesImport { trees: read(&file)? };
            match ask(places, &request, Meter::still())? {
                Reply::Done { message } => output::line(message),
                _ => Err(Failure::WrongReply),
            }
        }
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let named = |error| Failure::Input(format!("{}: {error}", file.display()));
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(MOST_BYTES).read_to_string(&mut text).map_err(named)?;
    } else {
        let file = std::fs::File::open(file).map_err(named)?;
        file.take(MOST_BYTES).read_to_string(&mut text).map_err(named)?;
    }
    Ok(text)
}

/// Zygotes below those that they were forked from.
fn tree(zygotes: &[ZygoteInfo]) -> String {
    let mut text = String::new();
    let stands = |id| zygotes.iter().any(|one| one.id == id);
    for root in zygotes.iter().filter(|one| !one.parent.is_some_and(stands)) {
        branch(root, zygotes, 0, &mut text);
    }
    if text.is_empty() {
        text.push_str("no zygotes\n");
    }
    text
}

fn branch(one: &ZygoteInfo, zygotes: &[ZygoteInfo], depth: usize, text: &mut String) {
    let mut named = some_modules(one);
    if named.is_empty() {
        "no packages".clone_into(&mut named);
    }
    let (indent, memory) = ("  ".repeat(depth), size::format(one.memory));
    let _ = writeln!(
        text,
        "{indent}{} {}, {memory}, {} forks, {} spares: {named}",
        one.id, one.state, one.forks, one.spares
    );
    for child in zygotes.iter().filter(|child| child.parent == Some(one.id)) {
        // A path in the tree is no longer than the list, even if the supervisor tells a cycle.
        if depth < zygotes.len() {
            branch(child, zygotes, depth + 1, text);
        }
    }
}

/// Modules that a zygote has imported, as many as a line takes.
fn some_modules(one: &ZygoteInfo) -> String {
    let mut modules: Vec<&str> = one.modules.iter().map(String::as_str).collect();
    // Packages first: a module in a package tells less than the package.
    modules.sort_by_key(|name| name.matches('.').count());
    let more = modules.len().saturating_sub(SHOWN);
    modules.truncate(SHOWN);
    let mut named = modules.join(" ");
    if more > 0 {
        let _ = write!(named, " and {more} more");
    }
    named
}

/// Zygotes as a table.
pub fn list(zygotes: &[ZygoteInfo]) -> String {
    let rows: Vec<_> = zygotes
        .iter()
        .map(|z| {
            [
                z.id.to_string(),
                z.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                z.environment.chars().take(12).collect(),
                z.state.clone(),
                z.forks.to_string(),
                z.spares.to_string(),
                size::format(z.memory),
                z.reason.clone().unwrap_or_else(|| some_modules(z)),
            ]
        })
        .collect();
    output::table(
        ["ZYGOTE", "PID", "ENVIRONMENT", "STATE", "FORKS", "SPARES", "MEMORY", "MODULES"],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_below_their_parents() {
        let zygote = |id, parent, modules: &[&str]| ZygoteInfo {
            id,
            parent,
            pid: Some(1),
            environment: String::new(),
            state: "ready".to_owned(),
            modules: modules.iter().map(|&name| name.to_owned()).collect(),
            reason: None,
            forks: 2,
            spares: 1,
            memory: 1 << 20,
        };
        let modules = ["a.b.c", "a", "a.b", "b", "c", "d", "e", "f"];
        let zygotes =
            [zygote(1, None, &[]), zygote(2, Some(1), &modules), zygote(4, Some(3), &["x"])];
        assert_eq!(
            tree(&zygotes),
            "1 ready, 1.0 MiB, 2 forks, 1 spares: no packages\n\
             \x20 2 ready, 1.0 MiB, 2 forks, 1 spares: a b c d e f and 2 more\n\
             4 ready, 1.0 MiB, 2 forks, 1 spares: x\n"
        );
        assert_eq!(tree(&[]), "no zygotes\n");
    }
}
