//! Layout of a wheel's files in an environment, as PEP 427 and 491 have it and uv does it.

use std::collections::{BTreeMap, BTreeSet};

use pep440_rs::Version;

use super::Flaw;
use super::archive::{self, Archive, Entry, TWICE, folders};
use super::scripts::{self, EntryPoint};
use crate::ingest::archive::record::{self, RecordEntry};
use crate::ingest::requirement::normalise;
use crate::interpreter::Interpreter;

/// Largest file of a wheel's metadata that is read, in bytes.
const MAX_METADATA: u64 = 64 << 20;
/// Files that an installer leaves of its own, whatever a wheel brings of that name: a mark that differs
/// between two installs of the same wheel, uv's own, and signatures of a RECORD that was changed.
const LEFT_OUT: [&str; 4] = ["REQUESTED", "uv_cache.json", "RECORD.jws", "RECORD.p7s"];
/// Files that an installer writes itself.
const WRITTEN: [&str; 2] = ["INSTALLER", "RECORD"];
/// Name of the installer, by what that leaves.
const INSTALLER: &str = "uv";

/// Expectation of a wheel and its environment.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    /// Normalised name of the distribution.
    pub name: &'a str,
    /// Version, where that is known.
    pub version: Option<&'a str>,
    /// The interpreter that it is installed for.
    pub interpreter: &'a Interpreter,
}

/// Files that installing a wheel leaves.
#[derive(Debug)]
pub struct Layout {
    /// Version, as the wheel says it.
    pub version: String,
    /// Files, besides RECORD.
    pub files: Vec<Planned>,
    /// Path of RECORD from the environment's root.
    pub record: String,
    /// True if the archive's own RECORD may be executed: what takes its place keeps that, as with uv.
    pub is_record_executable: bool,
}

/// A file of it.
#[derive(Debug)]
pub struct Planned {
    /// Path from the environment's root.
    pub path: String,
    /// Path of the file in RECORD.
    pub listed: String,
    /// Source of the content.
    pub source: FileSource,
    /// True if it may be executed.
    pub executable: bool,
}

/// Source of a file's content.
#[derive(Debug)]
pub enum FileSource {
    /// Entry of the archive, and what RECORD says of it, if anything.
    Entry(Entry, Option<RecordEntry>),
    /// Script of the archive, whose first line is to name the interpreter.
    Script(Entry, Option<RecordEntry>),
    /// A text.
    Text(String),
}

impl Layout {
    /// Reads what a wheel says of itself, and places its files.
    pub fn of(
        archive: &mut Archive,
        entries: Vec<Entry>,
        expected: &Expected<'_>,
    ) -> Result<Self, Flaw> {
        let info = dist_info(&entries, expected)?;
        let stem = info.strip_suffix(INFO).unwrap_or(&info);
        let version = stem.split_once('-').map_or("", |(_, version)| version).to_owned();
        let by_path: BTreeMap<&str, &Entry> =
            entries.iter().map(|entry| (&*entry.path, entry)).collect();
        let mut text = |name: &str| -> Result<Option<String>, Flaw> {
            let path = format!("{info}/{name}");
            let Some(entry) = by_path.get(&*path) else { return Ok(None) };
            let content = archive.read(entry, MAX_METADATA)?;
            let text = String::from_utf8(content).map_err(|_| Flaw::of(&path, "it is not UTF-8"));
            text.map(Some)
        };
        check_wheel(text("WHEEL")?.as_deref(), &info)?;
        let listed = text("RECORD")?
            .ok_or_else(|| Flaw::of(&format!("{info}/RECORD"), "it is not there"))?;
        let is_record_executable =
            by_path.get(&*format!("{info}/RECORD")).is_some_and(|entry| entry.executable);
        let points = text("entry_points.txt")?.unwrap_or_default();
        let points = scripts::entry_points(&points)?;
        let mut lines: BTreeMap<String, RecordEntry> = record::parse(&listed)
            .into_iter()
            .filter_map(|line| Some((record::plain(&line.path)?, line)))
            .collect();
        let placing = Placing {
            site: expected.interpreter.site_packages(),
            headers: format!(
                "include/site/python{}/{}",
                expected.interpreter.short_version(),
                expected.name
            ),
            data: format!("{stem}.data"),
            info,
            points,
        };
        let mut files = Vec::with_capacity(entries.len());
        for entry in entries {
            let line = lines.remove(&entry.path);
            files.extend(placing.place(entry, line)?);
        }
        for point in &placing.points {
            let source = FileSource::Text(point.script());
            files.push(placing.planned(&format!("bin/{}", point.name), source, true)?);
        }
        let own = format!("{}/{}", placing.site, placing.info);
        let source = FileSource::Text(INSTALLER.to_owned());
        files.push(placing.planned(&format!("{own}/INSTALLER"), source, false)?);
        let record = format!("{own}/RECORD");
        check_places(&files, &record)?;
        Ok(Self { version, files, record, is_record_executable })
    }
}

/// End of the name of a distribution's folder of metadata, after its name and version.
const INFO: &str = ".dist-info";

/// The one folder of metadata, which must be of the name and version that are asked for.
fn dist_info(entries: &[Entry], expected: &Expected<'_>) -> Result<String, Flaw> {
    let tops = entries.iter().filter_map(|entry| entry.path.split_once('/'));
    let found: BTreeSet<&str> = tops.map(|(top, _)| top).filter(|top| is_info(top)).collect();
    let mut found = found.into_iter();
    let (Some(info), other) = (found.next(), found.next()) else {
        return Err(Flaw::Metadata(format!("it has no {INFO} folder")));
    };
    if let Some(other) = other {
        return Err(Flaw::Metadata(format!("it has {info:?} and {other:?}, and may have one")));
    }
    let named = info.strip_suffix(INFO).and_then(|stem| stem.split_once('-'));
    let is_version = |found: &str| match expected.version {
        Some(version) => match (found.replace('_', "-").parse::<Version>(), version.parse()) {
            (Ok(found), Ok(version)) => found == version,
            _ => found == version,
        },
        None => true,
    };
    match named {
        Some((name, version)) if normalise(name) == expected.name && is_version(version) => {
            Ok(info.to_owned())
        }
        _ => {
            let (name, version) = (expected.name, expected.version.unwrap_or_default());
            Err(Flaw::Metadata(format!("it has {info:?}, which is not of {name} {version}")))
        }
    }
}

/// True if a name beside packages is that of some distribution's metadata, however it is written.
fn is_info(name: &str) -> bool {
    name.to_lowercase().ends_with(INFO)
}

fn check_wheel(text: Option<&str>, info: &str) -> Result<(), Flaw> {
    let path = format!("{info}/WHEEL");
    let text = text.ok_or_else(|| Flaw::of(&path, "it is not there"))?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let version = fields.find(|(name, _)| name.eq_ignore_ascii_case("Wheel-Version"));
    let version = version.map_or("", |(_, version)| version.trim());
    if version.split('.').next() == Some("1") {
        return Ok(());
    }
    Err(Flaw::of(&path, format!("its version is {version:?}, and 1 is the one that is known")))
}

/// Nothing of a wheel is in the way of something else of it.
fn check_places(files: &[Planned], record: &str) -> Result<(), Flaw> {
    let mut known = BTreeSet::from([record]);
    for file in files {
        if !known.insert(&file.path) {
            return Err(Flaw::of(&file.path, TWICE));
        }
    }
    for file in files {
        if let Some(other) = folders(&file.path).find(|folder| known.contains(folder)) {
            return Err(Flaw::of(other, "it is a file, and a folder of others"));
        }
    }
    Ok(())
}

/// Folders in which a wheel's files are placed.
struct Placing {
    /// Folder of packages from the environment's root.
    site: String,
    /// Folder of headers.
    headers: String,
    /// Folder of other files than packages.
    data: String,
    /// Folder of metadata.
    info: String,
    /// The scripts that are written for it.
    points: Vec<EntryPoint>,
}

impl Placing {
    /// Places a file; `None` if it is left out.
    fn place(&self, entry: Entry, line: Option<RecordEntry>) -> Result<Option<Planned>, Flaw> {
        let path = entry.path.clone();
        let own = path.strip_prefix(&*self.info).and_then(|path| path.strip_prefix('/'));
        let own = own.unwrap_or_default();
        if LEFT_OUT.contains(&own) || WRITTEN.contains(&own) || is_bytecode(&path) {
            return Ok(None);
        }
        let executable = entry.executable;
        let data = path.strip_prefix(&*self.data).and_then(|path| path.strip_prefix('/'));
        let Some(data) = data else {
            let to = format!("{}/{path}", self.site);
            return self.planned(&to, FileSource::Entry(entry, line), executable).map(Some);
        };
        let (kind, rest) = data.split_once('/').unwrap_or((data, ""));
        let to = match kind {
            _ if rest.is_empty() => return Err(Flaw::of(&path, "it is of no kind of data")),
            "purelib" | "platlib" => format!("{}/{rest}", self.site),
            "data" => rest.to_owned(),
            "headers" => format!("{}/{rest}", self.headers),
            "scripts" if rest.contains('/') => {
                return Err(Flaw::of(&path, "there are no folders of scripts"));
            }
            "scripts" if self.has_point(rest) => return Ok(None),
            "scripts" => {
                let source = FileSource::Script(entry, line);
                return self.planned(&format!("bin/{rest}"), source, true).map(Some);
            }
            _ => return Err(Flaw::of(&path, "it is of no known kind of data")),
        };
        self.planned(&to, FileSource::Entry(entry, line), executable).map(Some)
    }

    /// True if a script is made from an entry point, of which some wheels have what others' tools have
    /// made.
    fn has_point(&self, script: &str) -> bool {
        let suffixes = [".exe", "-script.py", ".pya"];
        let lower = script.to_lowercase();
        let stem = suffixes.iter().find(|suffix| lower.ends_with(*suffix));
        let stem = stem.and_then(|suffix| script.get(..script.len() - suffix.len()));
        self.points.iter().any(|point| point.name == stem.unwrap_or(script))
    }

    fn planned(&self, to: &str, source: FileSource, executable: bool) -> Result<Planned, Flaw> {
        let listed = self.listed(to);
        if let Some(reason) = archive::oddness(to) {
            return Err(Flaw::of(to, reason));
        }
        let path = record::behind_link(to);
        let below = path.strip_prefix(&*self.site).and_then(|path| path.strip_prefix('/'));
        let top = below.and_then(|below| below.split('/').next()).unwrap_or_default();
        if is_info(top) && top != self.info {
            return Err(Flaw::of(&path, "it is in the metadata of another distribution"));
        }
        let script = path.strip_prefix("bin/").filter(|script| scripts::is_reserved(script));
        if let Some(script) = script {
            let reason = format!("it has the reserved name {script:?}");
            return Err(Flaw::of(&path, reason));
        }
        Ok(Planned { path, listed, source, executable })
    }

    /// A path from the environment's root, as RECORD has it: from where packages are.
    fn listed(&self, path: &str) -> String {
        let (site, parts): (Vec<_>, Vec<_>) =
            (self.site.split('/').collect(), path.split('/').collect());
        let same = site.iter().zip(&parts).take_while(|(one, other)| one == other).count();
        let up = std::iter::repeat_n("..", site.len() - same);
        up.chain(parts[same..].iter().copied()).collect::<Vec<_>>().join("/")
    }
}

/// True if a file is bytecode beside its source, which is made here.
fn is_bytecode(path: &str) -> bool {
    path.strip_suffix(".pyc").is_some() && path.rsplit('/').nth(1) == Some("__pycache__")
}
