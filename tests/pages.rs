//! The pages: links work, named tests exist, and no page is too long.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::tests;

tests!(
    links_lead_somewhere,
    tests_that_pages_name_exist,
    pages_are_in_the_summary,
    pages_are_short_enough_to_be_read,
);

/// The top folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The code blocks of a page of some kind, such as `sh`.
pub fn blocks(page: &str, kind: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository().join(page)).unwrap();
    let inside = text.split("```").skip(1).step_by(2).map(|block| block.split_once('\n').unwrap());
    let of_kind = inside.filter(|(marked, _)| *marked == kind);
    let found: Vec<_> = of_kind.map(|(_, block)| block.to_owned()).collect();
    assert!(!found.is_empty(), "{page} has no block of {kind}");
    found
}

/// All pages below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| {
        if path.is_dir() {
            return below(&path);
        }
        if path.extension().is_some_and(|ending| ending == "md") { vec![path] } else { Vec::new() }
    });
    found.collect()
}

fn pages() -> Vec<PathBuf> {
    let top =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| repository().join(name));
    let mut all: Vec<_> = top.into_iter().chain(below(&repository().join("docs"))).collect();
    all.sort();
    all
}

/// The text of a page, without blocks and pieces of code.
fn prose(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let outside = text.split("```").step_by(2).collect::<Vec<_>>().join("\n");
    outside.split('`').step_by(2).collect::<Vec<_>>().join("")
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let outside = text.split("```").step_by(2).collect::<Vec<_>>().join("\n");
    let headings = outside.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// Targets of the links of a page.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

fn links_lead_somewhere() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        let text = prose(&page);
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            count += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let is_there =
                target.exists() && (place.is_empty() || anchors(&target).contains(place));
            if !is_there {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(count > 20 && wrong.is_empty(), "of {count}: {wrong:#?}");
}

fn tests_that_pages_name_exist() {
    let known: BTreeSet<String> = crate::groups()
        .into_iter()
        .flat_map(|(group, tests)| {
            tests.into_iter().map(move |test| format!("{group}::{}", test.name))
        })
        .collect();
    let modules: BTreeSet<_> = crate::groups().into_iter().map(|(group, _)| group).collect();
    let groups: BTreeSet<&str> = known.iter().filter_map(|name| name.split("::").next()).collect();
    let mut count = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let named = text.split('`').skip(1).step_by(2).filter(|piece| {
            piece.split_once("::").is_some_and(|(group, _)| groups.contains(group))
        });
        for name in named {
            let is_module = modules.contains(name);
            let is_known = is_module || known.contains(name);
            assert!(is_known, "{} names {name}, which is no test", page.display());
            count += usize::from(!is_module);
        }
    }
    assert!(count > 30, "only {count} found");
}

fn pages_are_in_the_summary() {
    let source = repository().join("docs/src");
    let summary = std::fs::read_to_string(source.join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<_> = links(&summary).into_iter().map(|link| source.join(link)).collect();
    let all = below(&source).into_iter().filter(|page| !page.ends_with("SUMMARY.md"));
    assert_eq!(listed, all.collect());
}

fn pages_are_short_enough_to_be_read() {
    for page in pages() {
        let most = match page.file_name().unwrap().to_str().unwrap() {
            "README.md" => 900,
            "ARCHITECTURE.md" => 2000,
            _ => 1500,
        };
        let words = std::fs::read_to_string(&page).unwrap().split_whitespace().count();
        assert!(words <= most, "{} has {words} words, and may have {most}", page.display());
    }
}
