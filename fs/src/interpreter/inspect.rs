//! Asking an executable what interpreter it is, and where all that this takes really is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::Interpreter;

const QUESTION: &str = include_str!("question.py");

/// Most links that a path may lead through, as the kernel has it.
const MAX_LINKS: usize = 40;

/// Answer of an executable about itself.
#[derive(Deserialize)]
struct Answer {
    #[serde(flatten)]
    interpreter: Interpreter,
    /// The prefix that it was built for, where it is a library that it looks for there.
    built_for: PathBuf,
    /// Library, and the folder and the file of compiled code.
    libraries: Vec<PathBuf>,
}

impl Interpreter {
    /// Asks an executable of the host what it is.
    ///
    /// All paths are those that links lead to: a link that leads elsewhere later, as `current` of a
    /// folder of versions does, changes nothing of an environment.
    pub fn inspect(executable: &Path) -> io::Result<Self> {
        let named = ask(executable)?;
        let real = named.interpreter.executable.clone();
        if real.parent().and_then(Path::parent) == Some(&named.real_prefix()?) {
            return named.whole(false);
        }
        // What runs is what the link leads to, and that may know itself by another prefix.
        ask(&real).unwrap_or(named).whole(true)
    }
}

fn ask(executable: &Path) -> io::Result<Answer> {
    let output = Command::new(executable).args(["-I", "-c", QUESTION]).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("it is no Python: {}", said.trim())));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|error| io::Error::other(format!("it is no Python: {error}")))?;
    if answer.interpreter.implementation == "cpython" {
        Ok(answer)
    } else {
        Err(io::Error::other(format!("{} is not CPython", answer.interpreter.implementation)))
    }
}

impl Answer {
    /// The prefix behind links. Where `/lib` leads below `/usr`, an interpreter in `/bin` takes the root
    /// for its own.
    fn real_prefix(&self) -> io::Result<PathBuf> {
        let prefix = fs::canonicalize(&self.interpreter.base_prefix)?;
        let library = self.libraries.first().filter(|_| prefix == Path::new("/"));
        let above = library.and_then(|library| library.ancestors().nth(2));
        Ok(above.map_or(prefix, Path::to_owned))
    }

    /// The interpreter, with what belongs to it wherever it is. Its prefix has a name of its own where it
    /// is `scattered`, and so does not find that beside itself.
    fn whole(self, scattered: bool) -> io::Result<Interpreter> {
        let base_prefix = self.real_prefix()?;
        let mut named: Vec<PathBuf> = Vec::new();
        let known = scattered.then_some(&self.interpreter.base_prefix);
        for prefix in known.into_iter().chain([&self.built_for]) {
            if fs::canonicalize(prefix).is_ok_and(|real| real == base_prefix) {
                named.extend(names(prefix));
            }
        }
        named.retain(|name| *name != base_prefix);
        named.sort_unstable();
        named.dedup();
        let mut parts = self.libraries;
        parts.push(self.interpreter.executable.clone());
        parts.sort_unstable();
        parts.dedup();
        Ok(Interpreter { base_prefix, named, parts, ..self.interpreter })
    }
}

/// The names that a path has on its way to what it leads to: itself, and what each link makes of it.
fn names(path: &Path) -> Vec<PathBuf> {
    let mut names = vec![path.to_owned()];
    while names.len() <= MAX_LINKS {
        let Some(next) = names.last().and_then(|last| followed(last)) else { break };
        names.push(next);
    }
    names
}

/// A path with its first link replaced by where that leads; `None` if there is no link in it.
fn followed(path: &Path) -> Option<PathBuf> {
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    let link = ancestors.into_iter().find(|part| part.is_symlink())?;
    let target = link.parent()?.join(fs::read_link(link).ok()?);
    let rest = path.strip_prefix(link).ok()?;
    Some(plain(&target.join(rest)))
}

/// A path without `.` and `..`. The folders ahead of a first link are no links, so that leaving them by
/// `..` leads to where they are.
fn plain(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            // What is left may be a link itself, and then its parent is another than its name says.
            Component::ParentDir if plain.is_symlink() => {
                plain = fs::canonicalize(&plain).unwrap_or(plain);
                plain.pop();
            }
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_has_a_name_for_each_link_that_it_leads_through() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("data/pythons/3.12.1/bin")).unwrap();
        symlink("data/pythons", root.join("middle")).unwrap();
        symlink("3.12.1", root.join("data/pythons/current")).unwrap();
        symlink(root.join("middle/../pythons/./current"), root.join("python")).unwrap();
        let told = |path: &str| -> Vec<_> {
            let names = names(&root.join(path));
            names.iter().map(|name| name.strip_prefix(&root).unwrap().to_owned()).collect()
        };
        let as_paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let (current, real) = ("data/pythons/current", "data/pythons/3.12.1");
        assert_eq!(told(real), as_paths(&[real]));
        assert_eq!(told(current), as_paths(&[current, real]));
        assert_eq!(told("middle/current"), as_paths(&["middle/current", current, real]));
        assert_eq!(told("python"), as_paths(&["python", current, real]));
        symlink("loop", root.join("loop")).unwrap();
        assert!(told("loop").len() > MAX_LINKS);
    }

    #[test]
    fn the_prefix_behind_links_is_that_of_the_executable_behind_links() {
        let plain = Interpreter::inspect(Path::new("python3")).unwrap();
        assert_eq!(plain.base_prefix, fs::canonicalize(&plain.base_prefix).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        symlink(&plain.base_prefix, root.join("current")).unwrap();
        let below = plain.executable.strip_prefix(&plain.base_prefix).unwrap();
        let linked = Interpreter::inspect(&root.join("current").join(below)).unwrap();
        assert_eq!(linked, plain);
        symlink(&plain.executable, root.join("python3")).unwrap();
        assert_eq!(Interpreter::inspect(&root.join("python3")).unwrap(), plain);
        // Folders of links, as some tools make of several packages.
        for name in ["bin", "lib"] {
            fs::create_dir_all(root.join("farm")).unwrap();
            symlink(plain.base_prefix.join(name), root.join("farm").join(name)).unwrap();
        }
        let farm = Interpreter::inspect(&root.join("farm").join(below)).unwrap();
        assert_eq!(farm, plain);
        let answer = |scattered: bool| {
            let interpreter = Interpreter { base_prefix: root.join("current"), ..plain.clone() };
            let built_for = root.join("other");
            Answer { interpreter, built_for, libraries: Vec::new() }.whole(scattered).unwrap()
        };
        symlink("current", root.join("other")).unwrap();
        let names = ["current", "other"].map(|name| root.join(name));
        assert_eq!(answer(false).named, names);
        fs::remove_file(root.join("other")).unwrap();
        assert_eq!(answer(false).named, [""; 0].map(PathBuf::from));
        assert_eq!(answer(true).named, names[..1]);
        assert!(Interpreter::inspect(Path::new("/bin/true")).is_err());
    }
}
