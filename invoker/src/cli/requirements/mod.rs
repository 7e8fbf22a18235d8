//! Requirements, as a user has written them: on the command line, in requirements files and those that
//! they name, in a lock, in a script. All of the text is sent, because uv runs where it sees no file of
//! the host.

mod listing;
mod script;

use std::path::{Path, PathBuf};

use pipsqueak::wire::Requirements;

use super::failure::Failure;
use super::text;
use listing::{Listing, Role};

/// Names of files that a function's folder is searched for, in this order. PEP 751 has a tool look for a
/// lock of its own name first.
pub const BROUGHT: [&str; 3] = ["pylock.pipsqueak.toml", "pylock.toml", "requirements.txt"];

/// Packages that were typed, and files of constraints.
pub fn of_packages(packages: &[String], constraints: &[PathBuf]) -> Result<Requirements, Failure> {
    let mut listing = Listing::default();
    for package in packages {
        listing.add_requirement(package)?;
    }
    constrain(&mut listing, constraints)?;
    Ok(listing.into_requirements(None))
}

/// Files: requirements files, or else one lock or one script.
pub fn of_files(files: &[PathBuf], constraints: &[PathBuf]) -> Result<Requirements, Failure> {
    let Some(special) = files.iter().find(|file| is_lock(file) || is_script(file)) else {
        let mut listing = Listing::default();
        for file in files {
            listing.read(file, Role::Requirements)?;
        }
        constrain(&mut listing, constraints)?;
        return Ok(listing.into_requirements(None));
    };
    if files.len() > 1 || (is_lock(special) && !constraints.is_empty()) {
        return Err(Failure::Input(format!(
            "{}: it says all that is wanted, and goes with no other file",
            special.display()
        )));
    }
    if is_lock(special) {
        return Ok(Requirements::Locked { lock: text::read(special)?, is_brought: false });
    }
    of_script(special, constraints)?.ok_or_else(|| {
        Failure::Input(format!("{}: it has no `# /// script` block", special.display()))
    })
}

/// Requirements that a function's folder brings along, in a lock or a requirements file.
pub fn of_folder(folder: &Path) -> Result<Option<Requirements>, Failure> {
    let brought = BROUGHT.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    brought.map(|file| of_files(&[file], &[])).transpose()
}

/// The text of such a file that is in an archive.
pub fn of_text(path: &Path, text: String) -> Result<Requirements, Failure> {
    if is_lock(path) {
        return Ok(Requirements::Locked { lock: text, is_brought: true });
    }
    let mut listing = Listing::default();
    listing.read_text(path, &text, None, Role::Requirements)?;
    Ok(brought(listing.into_requirements(None)))
}

/// These requirements, marked as said by an archive and not by the user.
fn brought(mut requirements: Requirements) -> Requirements {
    let (Requirements::Listed { is_brought, .. } | Requirements::Locked { is_brought, .. }) =
        &mut requirements;
    *is_brought = true;
    requirements
}

/// Lets packages without a wheel be built from source, if that is `allowed`.
pub fn allow_build(requirements: &mut Requirements, allowed: bool) -> Result<(), Failure> {
    match requirements {
        Requirements::Listed { allow_build, .. } => *allow_build = allowed,
        Requirements::Locked { .. } if allowed => {
            let reason = "--allow-build: a lock says which wheels there are, and nothing is built";
            return Err(Failure::Input(reason.to_owned()));
        }
        Requirements::Locked { .. } => {}
    }
    Ok(())
}

/// Requirements of a script's block, if the script has one.
pub fn of_script(path: &Path, constraints: &[PathBuf]) -> Result<Option<Requirements>, Failure> {
    let failed = |reason| Failure::Input(format!("{}: {reason}", path.display()));
    let bytes = text::read_bytes(path)?;
    // A script may have another encoding, but its block is ASCII.
    let text =
        text::decode(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned());
    let Some(script) = script::read(&text).map_err(failed)? else { return Ok(None) };
    let mut listing = Listing::default();
    for dependency in &script.dependencies {
        listing.add_requirement(dependency)?;
    }
    constrain(&mut listing, constraints)?;
    Ok(Some(listing.into_requirements(script.requires_python)))
}

fn constrain(listing: &mut Listing, constraints: &[PathBuf]) -> Result<(), Failure> {
    constraints.iter().try_for_each(|file| listing.read(file, Role::Constraints))
}

/// True if PEP 751 gives a lock this name: `pylock.toml`, `pylock.NAME.toml`.
fn is_lock(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let middle = name.strip_prefix("pylock.").and_then(|name| name.strip_suffix("toml"));
    middle.is_some_and(|middle| {
        let name = middle.strip_suffix('.');
        middle.is_empty() || name.is_some_and(|name| !name.is_empty() && !name.contains('.'))
    })
}

fn is_script(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "py")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(requirements: Requirements) -> Vec<String> {
        match requirements {
            Requirements::Listed { requirements, .. } => requirements,
            Requirements::Locked { lock, .. } => vec![lock],
        }
    }

    #[test]
    fn locks_are_known_by_their_names() {
        for name in ["pylock.toml", "a/pylock.dev.toml", "pylock.pipsqueak.toml"] {
            assert!(is_lock(Path::new(name)), "{name}");
        }
        for name in ["pylock.a.b.toml", "pylock..toml", "pylocktoml", "my.pylock.toml", "x.toml"] {
            assert!(!is_lock(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn a_folder_brings_the_best_that_it_has() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of_folder(folder.path()).unwrap(), None);
        for name in BROUGHT.into_iter().rev() {
            std::fs::write(folder.path().join(name), format!("{name}==1")).unwrap();
            let found = of_folder(folder.path()).unwrap().unwrap();
            assert_eq!(lines(found), [format!("{name}==1")]);
        }
    }

    #[test]
    fn a_script_brings_its_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.py");
        for content in [b"print()\n".as_slice(), b"# coding: cp437\nprint('\xe9')\n"] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(of_script(&path, &[]).unwrap(), None);
        }
        let files = std::slice::from_ref(&path);
        assert!(of_files(files, &[]).is_err());
        std::fs::write(&path, "# /// script\n# dependencies = ['six', './x']\n# ///\n").unwrap();
        assert!(of_script(&path, &[]).unwrap_err().to_string().contains("./x"));
        std::fs::write(&path, "# /// script\n# dependencies = ['six']\n# ///\n").unwrap();
        assert_eq!(lines(of_script(&path, &[]).unwrap().unwrap()), ["six"]);
        assert_eq!(lines(of_files(files, &[]).unwrap()), ["six"]);
        assert!(of_files(&[path.clone(), path.clone()], &[]).is_err());
    }

    #[test]
    fn what_is_typed_is_held_to_constraints() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.txt");
        std::fs::write(&file, "six<2 # no\n").unwrap();
        let found = of_packages(&["six".to_owned()], &[file]).unwrap();
        let Requirements::Listed { requirements, constraints, .. } = found else { panic!() };
        assert_eq!((requirements, constraints), (vec!["six".into()], vec!["six<2".into()]));
        assert!(of_packages(&["../six".to_owned()], &[]).is_err());
        assert!(of_packages(&["-e x".to_owned()], &[]).is_err());
    }
}
