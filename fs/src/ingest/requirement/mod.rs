//! Lines that ask for packages, as plain data: what uv is given is written from this and from nothing
//! else. A line is a requirement (PEP 508) with its digests, or one of a few options.
//!
//! The reader is our own, although there are crates for PEP 508. What they make of a marker is a decision
//! diagram, in a table that lives as long as the process and can grow with two to the power of a line's
//! length: whoever may send requirements could fill the supervisor's memory. Here a marker is read and
//! written, and evaluated by uv alone, in a sandbox. They also put variables of the process into
//! addresses, as uv does, and allow characters that end a line for uv.

mod address;
mod marker;
mod name;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use pep440_rs::VersionSpecifiers;

pub use address::{Address, is_of_this_machine, split_authority};
pub use marker::Marker;
pub use name::normalise;

/// Longest line that is read, in bytes: one with the digests of a thousand wheels is shorter.
const LONGEST: usize = 256 << 10;

/// Algorithms of digests that uv knows.
const ALGORITHMS: [&str; 5] = ["md5", "sha256", "sha384", "sha512", "blake2b"];

/// A line that asks for packages, or says how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A package.
    Requirement(Requirement),
    /// An option.
    Choice(Choice),
}

/// A package that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Normalised name.
    pub name: String,
    /// Normalised extras.
    pub extras: BTreeSet<String>,
    /// Archives of the package that suit.
    pub which: Which,
    /// Environments that it is for, where it is not for all.
    pub marker: Option<Marker>,
    /// Digests of archives that may be installed, `algorithm:digest` in small letters.
    pub hashes: BTreeSet<String>,
}

/// Archives of a package that suit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Archives of some versions in an index; of all versions if there is no specifier.
    Versions(VersionSpecifiers),
    /// The one at an address.
    At(Address),
}

/// An option among requirements, as pip's manual has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// An index in the place of PyPI.
    Index(Address),
    /// An index to look in before.
    ExtraIndex(Address),
    /// A page with links to archives.
    FindLinks(Address),
    /// No index at all.
    NoIndex,
    /// Versions before a release suit as well.
    Pre,
    /// Everything needs a digest.
    RequireHashes,
    /// An option without effect here, such as a preference for wheels: nothing else is installed.
    Ignored,
}

/// Reason why a line is refused. Its message has the line, so that it can be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the line `{}` of the requirements is refused: {reason}", shown(line))]
pub struct LineError {
    line: String,
    reason: String,
}

impl Line {
    /// Reads a line.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let refused = |reason: String| LineError { line: text.to_owned(), reason };
        check(text).map_err(|reason| refused(reason.to_owned()))?;
        let line = text.trim_matches([' ', '\t']);
        if line.starts_with('-') {
            choice(line).map(Self::Choice).map_err(refused)
        } else {
            requirement(line).map(Self::Requirement).map_err(refused)
        }
    }
}

impl Requirement {
    /// Reads a line that is no option.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        match Line::parse(text)? {
            Line::Requirement(requirement) => Ok(requirement),
            Line::Choice(_) => Err(LineError {
                line: text.to_owned(),
                reason: "it is an option, and a requirement is expected".to_owned(),
            }),
        }
    }

    /// The address that it is taken from, where it names one.
    pub fn address(&self) -> Option<&Address> {
        match &self.which {
            Which::At(address) => Some(address),
            Which::Versions(_) => None,
        }
    }
}

impl Choice {
    /// The place that it names, where it names one.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Index(address) | Self::ExtraIndex(address) | Self::FindLinks(address) => {
                Some(address)
            }
            Self::NoIndex | Self::Pre | Self::RequireHashes | Self::Ignored => None,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.extras.is_empty() {
            let extras: Vec<&str> = self.extras.iter().map(String::as_str).collect();
            write!(f, "[{}]", extras.join(","))?;
        }
        match &self.which {
            Which::Versions(specifiers) => {
                let specifiers: Vec<String> = specifiers.iter().map(ToString::to_string).collect();
                f.write_str(&specifiers.join(","))?;
            }
            Which::At(address) => write!(f, " @ {address}")?,
        }
        if let Some(marker) = &self.marker {
            write!(f, " ; {marker}")?;
        }
        self.hashes.iter().try_for_each(|hash| write!(f, " --hash={hash}"))
    }
}

/// Refuses what could end a line, or be replaced, for somebody who reads it after us.
fn check(line: &str) -> Result<(), &'static str> {
    if line.len() > LONGEST {
        return Err("it is longer than 256 KiB");
    }
    if line.chars().any(|c| c != '\t' && is_invisible(c)) {
        return Err("it has a control character, such as one that ends a line; write it without");
    }
    if line.contains("${") {
        return Err(
            "it has a variable that is not set; set it, or write the value in its place (${ is \
             never part of a requirement)",
        );
    }
    Ok(())
}

/// True for characters that end lines, direct terminals, or change what is read around them.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A line in a message: escaped, cut, and without credentials.
fn shown(line: &str) -> String {
    const MOST: usize = 200;
    let mut shown = String::new();
    for c in crate::ingest::credentials::hide(line).chars().take(MOST) {
        if is_invisible(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if line.chars().nth(MOST).is_some() { shown + "..." } else { shown }
}

fn requirement(line: &str) -> Result<Requirement, String> {
    let (what, hashes) = split_hashes(line)?;
    if is_bare_address(what) {
        return of_wheel(what, hashes);
    }
    let (name, rest) = take_name(what)?;
    let (extras, rest) = take_extras(rest)?;
    let rest = rest.trim_start();
    let (which, marker) = if let Some(rest) = rest.strip_prefix('@') {
        let (address, marker) = take_address(rest.trim_start());
        (Which::At(Address::parse(address).map_err(|error| error.to_string())?), marker)
    } else {
        let (specifiers, marker) = match rest.split_once(';') {
            Some((specifiers, marker)) => (specifiers, Some(marker)),
            None => (rest, None),
        };
        (Which::Versions(read_specifiers(specifiers)?), marker)
    };
    let marker = marker.map(Marker::parse).transpose()?;
    Ok(Requirement { name, extras, which, marker, hashes })
}

/// True for an address without a name before it.
fn is_bare_address(text: &str) -> bool {
    let word = text.split([' ', '\t', '@', '[', ';']).next().unwrap_or_default();
    word.contains("://") || word.starts_with("file:")
}

/// A wheel's address, of which the wheel's name says what it is.
fn of_wheel(text: &str, hashes: BTreeSet<String>) -> Result<Requirement, String> {
    let (address, marker) = take_address(text);
    let address = Address::parse(address).map_err(|error| error.to_string())?;
    let file = address.file_name();
    let name = file.strip_suffix(".whl").and_then(|stem| {
        let (name, rest) = stem.split_once('-')?;
        (rest.split('-').count() >= 4).then_some(name)
    });
    let name = name.ok_or("the address is of no wheel, which would have a name: NAME @ ADDRESS")?;
    let marker = marker.map(Marker::parse).transpose()?;
    let (name, rest) = take_name(name)?;
    if !rest.is_empty() {
        return Err("the address is of a wheel whose name is none".to_owned());
    }
    Ok(Requirement { name, extras: BTreeSet::new(), which: Which::At(address), marker, hashes })
}

/// An address, which a blank ends, and the marker after it.
fn take_address(text: &str) -> (&str, Option<&str>) {
    let (address, rest) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
    let rest = rest.trim_start();
    match rest.strip_prefix(';') {
        Some(marker) => (address, Some(marker)),
        None if rest.is_empty() => (address, None),
        // Not an address at all, which its reader says.
        None => (text, None),
    }
}

/// A project's name or an extra's, normalised, and what follows.
fn take_name(text: &str) -> Result<(String, &str), String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let (name, rest) = text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()));
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !is_edge(name.chars().next()) || !is_edge(name.chars().next_back()) {
        return Err("it does not begin with a package's name".to_owned());
    }
    Ok((normalise(name), rest))
}

fn take_extras(text: &str) -> Result<(BTreeSet<String>, &str), String> {
    let Some(rest) = text.trim_start().strip_prefix('[') else {
        return Ok((BTreeSet::new(), text));
    };
    let (inside, rest) = rest.split_once(']').ok_or("its extras have no end")?;
    let extra = |extra: &str| match take_name(extra.trim())? {
        (name, "") => Ok(name),
        _ => Err(format!("it has an extra that is none: {extra:?}")),
    };
    let extras = inside.split(',').filter(|_| !inside.trim().is_empty()).map(extra);
    Ok((extras.collect::<Result<_, String>>()?, rest))
}

fn read_specifiers(text: &str) -> Result<VersionSpecifiers, String> {
    let text = text.trim();
    // As metadata once had them.
    let inside = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    let text = inside.unwrap_or(text);
    if text.starts_with(|c: char| !matches!(c, '=' | '<' | '>' | '~' | '!')) {
        return Err(format!("{text:?} follows its name, and is no version, address or marker"));
    }
    VersionSpecifiers::from_str(text)
        .map_err(|error| error.to_string().lines().next().unwrap_or("its versions").to_owned())
}

/// Splits a requirement from its options. Returns it, and the digests that the options give.
fn split_hashes(line: &str) -> Result<(&str, BTreeSet<String>), String> {
    let begins = |(at, _): &(usize, &str)| line[..*at].ends_with([' ', '\t']);
    let Some((at, _)) = line.match_indices("--").find(begins) else {
        return Ok((line.trim_end(), BTreeSet::new()));
    };
    let (what, options) = line.split_at(at);
    let mut hashes = BTreeSet::new();
    let mut words = options.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let hash = match word.strip_prefix("--hash") {
            Some("") => words.next().unwrap_or_default(),
            Some(rest) => rest.strip_prefix('=').unwrap_or_default(),
            None => return Err(format!("a requirement has no option {word}")),
        };
        hashes.insert(read_hash(hash)?);
    }
    Ok((what.trim_end(), hashes))
}

/// Reads a digest, `algorithm:digest`.
pub fn read_hash(text: &str) -> Result<String, String> {
    let hash = text.to_ascii_lowercase();
    let is_one = hash.split_once(':').is_some_and(|(algorithm, digest)| {
        ALGORITHMS.contains(&algorithm)
            && !digest.is_empty()
            && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    if is_one { Ok(hash) } else { Err(format!("{text:?} is no digest, such as sha256:0123…")) }
}

fn choice(line: &str) -> Result<Choice, String> {
    let end = line.find([' ', '\t', '=']).unwrap_or(line.len());
    let (option, value) = line.split_at(end);
    let value = value.trim_start_matches([' ', '\t', '=']).trim_end();
    let quoted =
        ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    let value = quoted.unwrap_or(value);
    let address = || Address::parse(value).map_err(|error| error.to_string());
    let alone = |choice| {
        if value.is_empty() { Ok(choice) } else { Err(format!("{option} has no value")) }
    };
    match option {
        "-i" | "--index-url" => address().map(Choice::Index),
        "--extra-index-url" => address().map(Choice::ExtraIndex),
        "-f" | "--find-links" => address().map(Choice::FindLinks),
        "--no-index" => alone(Choice::NoIndex),
        "--pre" => alone(Choice::Pre),
        "--require-hashes" => alone(Choice::RequireHashes),
        "--prefer-binary" => alone(Choice::Ignored),
        "--no-binary" if value != ":none:" => {
            Err("packages are installed from wheels; --allow-build builds what has none".to_owned())
        }
        "--no-binary" | "--only-binary" | "--trusted-host" | "--use-feature" => Ok(Choice::Ignored),
        _ => Err("a file of requirements has no such option".to_owned()),
    }
}

#[cfg(test)]
mod tests;
