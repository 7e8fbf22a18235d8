//! The interpreters that the machine has.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;

/// Minor versions of CPython 3 to look for.
const MINORS: RangeInclusive<u32> = 9..=14;

/// Folders of interpreters by minor version: of the default one, of those on the PATH, and of those
/// beside the default one's folder, where version managers keep theirs.
pub fn interpreters() -> BTreeMap<u32, PathBuf> {
    let (default, prefix) = ask("python3").expect("a python3 that runs");
    let mut found = BTreeMap::from([(default, prefix.clone())]);
    for (minor, prefix) in MINORS.filter_map(|minor| ask(&format!("python3.{minor}"))) {
        found.entry(minor).or_insert(prefix);
    }
    let beside = prefix.parent().and_then(|folder| folder.read_dir().ok());
    let beside = beside.into_iter().flatten().flatten().map(|entry| entry.path());
    for prefix in beside.filter(|prefix| !prefix.is_symlink()) {
        for minor in MINORS {
            if prefix.join(format!("bin/python3.{minor}")).exists() {
                found.entry(minor).or_insert_with(|| prefix.clone());
            }
        }
    }
    found
}

/// The minor version of a program and the folder that it belongs to. `None` for a shim of a version
/// manager that starts nothing.
fn ask(program: &str) -> Option<(u32, PathBuf)> {
    let code = "import sys; print(sys.version_info[1], sys.base_prefix)";
    let asked = Command::new(program).args(["-c", code]).output().ok()?;
    let said = String::from_utf8(asked.stdout).ok()?;
    let (minor, prefix) = said.trim().split_once(' ')?;
    Some((minor.parse().ok()?, prefix.into()))
}
