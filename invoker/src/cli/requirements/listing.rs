//! Requirements files as pip and uv read them, and those that they name, as one list of lines.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pipsqueak::wire::Requirements;

use crate::cli::failure::Failure;
use crate::cli::terminal::is_invisible;
use crate::cli::text;

/// Purpose of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The file asks for packages.
    Requirements,
    /// The file limits versions of packages that other files ask for.
    Constraints,
}

/// Lines of requirements and of constraints, none of which names a file.
#[derive(Debug, Default)]
pub struct Listing {
    requirements: Vec<String>,
    constraints: Vec<String>,
    seen: BTreeSet<(PathBuf, Role)>,
}

/// Endings of archives that are installed from a path if they have no scheme.
const ARCHIVES: [&str; 6] = [".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"];

impl Listing {
    /// Reads a file, and the files that it names, each once. Refuses requirements that need other files
    /// of this machine.
    pub fn read(&mut self, path: &Path, role: Role) -> Result<(), Failure> {
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if !self.seen.insert((identity, role)) {
            return Ok(());
        }
        let text = text::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        self.read_text(path, &text, Some(folder), role)
    }

    /// Reads the text of a file. `folder` is the place of the files that it may name; if absent, it may
    /// name none.
    pub fn read_text(
        &mut self,
        path: &Path,
        text: &str,
        folder: Option<&Path>,
        role: Role,
    ) -> Result<(), Failure> {
        for (number, line) in logical_lines(text) {
            // An archive's text must not get the caller's variables.
            let value = |name: &str| folder.and_then(|_| std::env::var(name).ok());
            let line = expand(&line, value);
            let refused = |reason: &str| {
                Failure::Input(format!("{}:{number}: {line}: {reason}", path.display()))
            };
            check(&line).map_err(refused)?;
            let beside = |named: &str| {
                let reason = "it is in an archive, of which no other file is read for requirements";
                folder.map(|folder| folder.join(named)).ok_or_else(|| refused(reason))
            };
            match understand(&line).map_err(refused)? {
                Line::Kept => self.push(line, role),
                // A file that a constraints file names is a constraints file, too.
                Line::Requirements(named) => self.read(&beside(named)?, role)?,
                Line::Constraints(named) => self.read(&beside(named)?, Role::Constraints)?,
            }
        }
        Ok(())
    }

    /// Takes one requirement that is no option.
    pub fn add_requirement(&mut self, requirement: &str) -> Result<(), Failure> {
        let refused = |reason: &str| Failure::Input(format!("{requirement}: {reason}"));
        let line = requirement.trim();
        check(line).map_err(refused)?;
        if line.starts_with('-') {
            return Err(refused("it is no requirement; write options to a file, for -r"));
        }
        understand(line).map_err(refused)?;
        self.push(line.to_owned(), Role::Requirements);
        Ok(())
    }

    /// The lines, as they are sent.
    pub fn into_requirements(self, requires_python: Option<String>) -> Requirements {
        let Self { requirements, constraints, .. } = self;
        Requirements::Listed {
            requirements,
            constraints,
            requires_python,
            allow_build: false,
            is_brought: false,
        }
    }

    fn push(&mut self, line: String, role: Role) {
        match role {
            Role::Requirements => self.requirements.push(line),
            Role::Constraints => self.constraints.push(line),
        }
    }
}

/// Refuses characters that could end a line, and variables that a later reader would replace.
fn check(line: &str) -> Result<(), &'static str> {
    if line.chars().any(|character| character != '\t' && is_invisible(character)) {
        return Err("it has a control character, such as one that ends a line; write it without");
    }
    if line.contains("${") {
        return Err(
            "it has a variable that is not set here; set it, or write its value in its place",
        );
    }
    Ok(())
}

/// Meaning of a line.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// The line is sent as it is.
    Kept,
    /// Names a requirements file.
    Requirements(&'a str),
    /// Names a file of constraints.
    Constraints(&'a str),
}

/// Options that a line of a requirements file may be, as pip's manual has them, without those that name
/// files or places.
const OPTIONS: [&str; 8] = [
    "--no-binary",
    "--no-index",
    "--only-binary",
    "--pre",
    "--prefer-binary",
    "--require-hashes",
    "--trusted-host",
    "--use-feature",
];

/// The meaning of a line, or the reason that it is refused.
fn understand(line: &str) -> Result<Line<'_>, &'static str> {
    if let Some(named) = option(line, "-r", "--requirement") {
        return file(named).map(Line::Requirements);
    }
    if let Some(named) = option(line, "-c", "--constraint") {
        return file(named).map(Line::Constraints);
    }
    if option(line, "-e", "--editable").is_some() {
        return Err("what can be edited is in no wheel, and environments are made of wheels");
    }
    let found_at = option(line, "-f", "--find-links")
        .or_else(|| option(line, "-i", "--index-url"))
        .or_else(|| option(line, "--extra-index-url", "--extra-index-url"));
    match found_at {
        Some(place) if place.starts_with("https://") || place.starts_with("http://") => {
            Ok(Line::Kept)
        }
        Some(_) => Err("packages cannot be taken from a folder of this machine; name an address"),
        None if line.starts_with('-') => {
            let name = line.split([' ', '\t', '=']).next().unwrap_or_default();
            let is_known = OPTIONS.contains(&name);
            if is_known { Ok(Line::Kept) } else { Err("a file of requirements has no such option") }
        }
        None => requirement(line).map(|()| Line::Kept),
    }
}

/// The value of an option, if a line is that option.
fn option<'a>(line: &'a str, short: &str, long: &str) -> Option<&'a str> {
    let after_long = line.strip_prefix(long).filter(|rest| rest.starts_with([' ', '\t', '=']));
    let value =
        after_long.or_else(|| line.strip_prefix(short).filter(|_| !line.starts_with("--")))?;
    let value = value.trim_start_matches([' ', '\t', '=']).trim_end();
    let quoted =
        ['"', '\''].iter().find_map(|&quote| value.strip_prefix(quote)?.strip_suffix(quote));
    Some(quoted.unwrap_or(value))
}

fn file(named: &str) -> Result<&str, &'static str> {
    if named.contains("://") {
        return Err("files of requirements are not fetched; download it, and name the file");
    }
    Ok(named)
}

/// Refuses a requirement that is a path or a repository.
fn requirement(line: &str) -> Result<(), &'static str> {
    const LOCAL: &str =
        "packages cannot be taken from a path of this machine; name one by name or by address";
    let name = line.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'));
    let (name, rest) = line.split_at(name.unwrap_or(line.len()));
    let rest = rest.trim_start();
    // Extras stand between a name and its address.
    let after =
        rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(_, after)| after);
    let address = after.unwrap_or(rest).trim_start().strip_prefix('@').map(str::trim_start);
    let place = address.unwrap_or(line).split([' ', '\t', ';']).next().unwrap_or_default();
    if let Some((scheme, _)) = place.split_once("://") {
        return match scheme {
            "http" | "https" => Ok(()),
            "file" => Err(LOCAL),
            _ => Err("packages are not built from version control; name a release or a wheel"),
        };
    }
    let is_path = address.is_some()
        || place.starts_with("file:")
        || name.starts_with('.')
        || place.contains('/') && !place.contains("--hash")
        || place.starts_with('~')
        || ARCHIVES.iter().any(|ending| place.ends_with(ending));
    if is_path { Err(LOCAL) } else { Ok(()) }
}

/// Lines without comments, those that go on with a backslash joined; each with its number.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut begun: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let (first, mut joined) = begun.take().unwrap_or((number, String::new()));
        let is_comment = line.trim_start().starts_with('#');
        if let Some(part) = line.strip_suffix('\\').filter(|_| !is_comment) {
            joined.push_str(part);
            begun = Some((first, joined));
            continue;
        }
        // A comment among joined lines ends them, as pip has it.
        joined.push_str(if is_comment { " " } else { "" });
        joined.push_str(line);
        lines.push((first, joined));
    }
    lines.extend(begun);
    lines
        .into_iter()
        .map(|(number, line)| (number, without_comment(&line).trim().to_owned()))
        .filter(|(_, line)| !line.is_empty())
        .collect()
}

/// A comment begins at the line's start or after a blank: `#` may be in an address.
fn without_comment(line: &str) -> &str {
    let begins =
        |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let at = line.match_indices('#').find(begins);
    at.map_or(line, |(at, _)| &line[..at])
}

/// Puts the values of variables in the place of `${NAME}`, capitals alone, as pip does; one that is
/// not set stays as it is.
fn expand(line: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${") {
        expanded.push_str(before);
        let name = after.split_once('}').map(|(name, _)| name).filter(|name| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        });
        if let Some((name, value)) = name.and_then(|name| Some((name, value(name)?))) {
            expanded.push_str(&value);
            rest = &after[name.len() + 1..];
        } else {
            expanded.push_str("${");
            rest = after;
        }
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn lines_are_joined_and_lose_their_comments() {
        let text = "# all\nsix==1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb # why\n\n\
                    x @ https://h/x.whl#sha256=cc\n  idna  #\n# \\\nlast \\";
        let lines = logical_lines(text);
        let lines: Vec<_> = lines.iter().map(|(n, line)| (*n, line.as_str())).collect();
        assert_eq!(
            lines,
            [
                (2, "six==1     --hash=sha256:aa     --hash=sha256:bb"),
                (6, "x @ https://h/x.whl#sha256=cc"),
                (7, "idna"),
                (9, "last"),
            ]
        );
    }

    #[test]
    fn files_are_found_from_the_file_that_names_them() {
        let folder = tempfile::tempdir().unwrap();
        let main = write(
            folder.path(),
            "app/main.txt",
            "-r ../base/base.txt\n--constraint=limits.txt\n-rmore.txt\nflask\n",
        );
        write(folder.path(), "base/base.txt", "idna\n-c own.txt\n-r ../app/main.txt\n");
        write(folder.path(), "base/own.txt", "idna<4\n-r deeper.txt\n");
        write(folder.path(), "base/deeper.txt", "six<2\n");
        write(folder.path(), "app/limits.txt", "flask<4\n");
        write(folder.path(), "app/more.txt", "--pre\nclick[a] ; python_version > '3'\n");
        let mut listing = Listing::default();
        listing.read(&main, Role::Requirements).unwrap();
        assert_eq!(
            listing.requirements,
            ["idna", "--pre", "click[a] ; python_version > '3'", "flask"]
        );
        assert_eq!(listing.constraints, ["idna<4", "six<2", "flask<4"]);
    }

    #[test]
    fn what_needs_files_of_this_machine_is_refused_by_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        for line in [
            "-e .",
            "-e git+https://host/x",
            "--editable=./x",
            "./x",
            "../x.whl",
            "/x",
            "~/x",
            "x/y",
            "x.whl",
            "x-1.tar.gz",
            "x @ file:///x.whl",
            "x[a]@./x.whl",
            "file:x",
            "git+https://host/x",
            "x @ git+ssh://git@host/x",
            "-f ./wheels",
            "--find-links=/wheels",
            "-i file:///wheels",
            "-r https://host/r.txt",
            "--no-such-option",
            "--only-binaries :all:",
            "-x",
        ] {
            let path = write(folder.path(), "r.txt", &format!("six\n{line}\n"));
            let error = Listing::default().read(&path, Role::Requirements).unwrap_err().to_string();
            assert!(error.contains(&format!("r.txt:2: {line}: ")), "{error}");
        }
        let nowhere = write(folder.path(), "r.txt", "-r nowhere.txt\n");
        let error = Listing::default().read(&nowhere, Role::Requirements).unwrap_err().to_string();
        assert!(error.contains("nowhere.txt"), "{error}");
    }

    #[test]
    fn what_is_in_an_index_or_at_an_address_goes_on() {
        for line in [
            "six",
            "six==1.16.0 --hash=sha256:aa/bb",
            "x[a, b] @ https://host/a/x.whl ; os_name == 'posix'",
            "x@https://host/x.whl",
            "https://host/x-1-py3-none-any.whl",
            "--index-url https://host/simple",
            "--find-links https://host/wheels",
            "--only-binary :all:",
            "--no-binary=:none:",
            "--pre",
            "-i https://host/simple",
            "x>=1; sys_platform=='linux' and platform_machine in 'a/b'",
        ] {
            assert_eq!(understand(line), Ok(Line::Kept), "{line}");
        }
    }

    #[test]
    fn what_ends_a_line_for_others_or_is_replaced_later_is_refused() {
        let mut listing = Listing::default();
        for line in ["six\r-e .", "six\u{2028}x", "six\u{b}x", "x @ https://h/${PIPSQUEAK_NOT_SET}"]
        {
            assert!(listing.add_requirement(line).is_err(), "{line:?}");
            let text = format!("idna\n{line}\n");
            let path = Path::new("r.txt");
            let read = listing.read_text(path, &text, Some(path), Role::Constraints);
            assert!(read.unwrap_err().to_string().starts_with("r.txt:2: "), "{line:?}");
        }
        // The caller's variables are not put into an archive's text.
        let line = "x @ https://h/x.whl?q=${PATH}\n";
        assert!(listing.read_text(Path::new("r"), line, None, Role::Requirements).is_err());
        let folder = Some(Path::new("."));
        assert!(listing.read_text(Path::new("r"), line, folder, Role::Requirements).is_ok());
    }

    #[test]
    fn variables_are_expanded_as_pip_does() {
        let value = |name: &str| (name == "A_1").then(|| "x".to_owned());
        assert_eq!(expand("${A_1}-${B}-${a}-$A_1-${", value), "x-${B}-${a}-$A_1-${");
    }
}
