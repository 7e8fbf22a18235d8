//! The readers, each with a valid input to begin with and a check for all others.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use fastrand::Rng;
use pipsqueak_fs::fuzzing::{self, Found};

use crate::mutation::{mutate, mutate_text};
use crate::{Failure, deployed};

/// A reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// RECORD files of installed distributions.
    Record,
    /// Locks, as uv prints them.
    Lock,
    /// Lines that ask for packages.
    Requirement,
    /// Archives of wheels.
    Wheel,
    /// Folders, files and archives that are deployed.
    Deployed,
    /// One compressed frame.
    Frame,
    /// A segment's file.
    Segment,
    /// A view's index with a wrong checksum.
    Index,
    /// A view's index with wrong content and a right checksum.
    Resealed,
    /// The list of published environments.
    Published,
}

/// All targets.
pub const TARGETS: [Target; 10] = [
    Target::Record,
    Target::Lock,
    Target::Requirement,
    Target::Wheel,
    Target::Deployed,
    Target::Frame,
    Target::Segment,
    Target::Index,
    Target::Resealed,
    Target::Published,
];

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

const RECORD: &str = "thing/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\r\n\
    \"thing/a,\"\"b\"\"\n.py\",,\n../../../bin/thing,sha256=x,12\nthing-1.0.dist-info/RECORD,,\n";

const LOCK: &str = r#"lock-version = "1.0"
[[packages]]
name = "Typing_Extensions"
version = "4.1"
wheels = [{ url = "https://x/t.whl", hashes = { sha256 = "bb" } }, { hashes = { sha256 = "aa" } }]
[[packages]]
name = "direct"
archive = { url = "https://x/d.whl", hashes = { sha256 = "cc" } }
"#;

const REQUIREMENT: &str = "Shop.Base[web,data_base] (>=1.0, !=1.5.*) ; (python_version < '4' and \
    extra == \"web\") or 'a' not in platform_version --hash=sha256:00aa --hash sha512:00bb";

const PIECES: [&str; 14] =
    ["\"", ",", "\n", "\r\n", "/", "..", "../", "\0", "[[", "=", "é", "{", "\\", "//"];

const REQUIREMENT_PIECES: [&str; 20] = [
    "\r",
    "\n",
    "\u{b}",
    "\u{2028}",
    "\t",
    "${A}",
    " @ ",
    "https://h:1/x-1-py3-none-any.whl",
    "file:///",
    " --no-binary :all:",
    " -",
    " #",
    "'",
    "\"",
    " ; ",
    "[",
    "]",
    "(((((((((((((((((((((((((",
    "==1",
    "\\",
];

/// A reader, its valid input, and the content that it reads from that.
pub struct Bench {
    target: Target,
    state: tempfile::TempDir,
    /// The file to damage, if the target has one, and its valid content.
    file: PathBuf,
    sound: Vec<u8>,
    sample: Found,
}

impl Bench {
    /// Prepares a target.
    pub fn new(target: Target) -> Result<Self, Failure> {
        let state = tempfile::Builder::new().prefix("pipsqueak-fuzz-").tempdir()?;
        let sample = fuzzing::write_sample(state.path())?;
        let (file, sound) = match target {
            Target::Record => (None, RECORD.as_bytes().to_vec()),
            Target::Lock => (None, LOCK.as_bytes().to_vec()),
            Target::Requirement => (None, REQUIREMENT.as_bytes().to_vec()),
            Target::Wheel => (None, fuzzing::write_wheel()?),
            Target::Deployed => (None, Vec::new()),
            Target::Frame => (None, fuzzing::frame_of(&content())?),
            Target::Segment => (Some("segments/1.segment"), Vec::new()),
            Target::Index | Target::Resealed => (Some("views/sample.index"), Vec::new()),
            Target::Published => (Some("views/published.json"), Vec::new()),
        };
        let path = state.path().join(file.unwrap_or_default());
        let sound = if file.is_some() { fs::read(&path)? } else { sound };
        let read = fuzzing::walk(state.path())?;
        if read != sample {
            return Err("what is not damaged is not read as it was written".into());
        }
        Ok(Self { target, state, file: path, sound, sample })
    }

    /// Damages the input and reads it; the error names a violation.
    pub fn try_one(&mut self, seed: u64) -> Result<(), String> {
        let mut random = Rng::with_seed(seed);
        if self.target == Target::Deployed {
            return deployed::try_one(self.state.path(), &mut random);
        }
        let mut input = self.sound.clone();
        match self.target {
            Target::Record | Target::Lock | Target::Published => {
                mutate_text(&mut random, &mut input, &PIECES);
            }
            Target::Requirement => mutate_text(&mut random, &mut input, &REQUIREMENT_PIECES),
            Target::Wheel => mutate_wheel(&mut random, &mut input),
            _ => mutate(&mut random, &mut input),
        }
        match self.target {
            Target::Record => records_stay_inside(&String::from_utf8_lossy(&input)),
            Target::Lock => {
                let _ = fuzzing::is_lock(&String::from_utf8_lossy(&input));
                Ok(())
            }
            Target::Wheel => self.wheels_stay_inside(&input),
            Target::Requirement => lines_stay_one(&String::from_utf8_lossy(&input)),
            // Made above.
            Target::Deployed => Ok(()),
            Target::Frame => match fuzzing::decode_frame(&input, content().len()) {
                Ok(decoded) if decoded != content() => Err("a damaged frame is decoded".to_owned()),
                _ => Ok(()),
            },
            Target::Segment | Target::Index | Target::Published => self.read(&input, true),
            Target::Resealed => {
                fuzzing::reseal_index(&mut input);
                self.read(&input, false)
            }
        }
    }

    /// Checks that a wheel is unpacked to exactly the reported files, in its folder, and into no
    /// other distribution's metadata.
    fn wheels_stay_inside(&self, wheel: &[u8]) -> Result<(), String> {
        let folder = tempfile::tempdir_in(self.state.path()).map_err(|error| error.to_string())?;
        let unpacked = fuzzing::unpack_wheel(wheel, folder.path());
        let Some(files) = unpacked.map_err(|error| error.to_string())? else { return Ok(()) };
        let mut there = BTreeSet::new();
        walk(folder.path(), "", &mut there).map_err(|error| error.to_string())?;
        for (path, is_right) in files {
            // Names of distributions are the same in whatever letters.
            let is_foreign = |part: &str| {
                let part = part.to_lowercase();
                part.ends_with(".dist-info") && part != "thing-1.0.dist-info"
            };
            let top = path.strip_prefix("lib/python3.11/site-packages/").unwrap_or_default();
            if !is_right || is_foreign(top.split('/').next().unwrap_or_default()) {
                return Err(format!("{path:?} is not what it should be"));
            }
            if path.chars().any(char::is_control) || !there.remove(&path) {
                return Err(format!("{path:?} is elsewhere"));
            }
        }
        there.first().map_or(Ok(()), |path| Err(format!("{path:?} is not told of")))
    }

    /// Reads the state with its damaged file. All that can be read must be right, if `is_known` is true.
    fn read(&self, input: &[u8], is_known: bool) -> Result<(), String> {
        // A new file: a file system may write out at once what replaces the content of an old one.
        let written = fs::remove_file(&self.file).and_then(|()| fs::write(&self.file, input));
        written.map_err(|error| error.to_string())?;
        let Ok(found) = fuzzing::walk(self.state.path()) else { return Ok(()) };
        if !is_known {
            return Ok(());
        }
        for (path, content) in found {
            match (self.sample.get(&path), content) {
                (None, _) => return Err(format!("{path:?} is there, and never was")),
                (Some(Ok(written)), Ok(read)) if read != *written => {
                    return Err(format!("{path} is read wrong"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Files below a folder, by their paths in it.
fn walk(folder: &Path, above: &str, found: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{above}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

/// Replaces names in an archive with texts of the same length, so that it stays an archive.
fn mutate_wheel(random: &mut Rng, input: &mut Vec<u8>) {
    const NAMES: [(&[u8], &[&[u8]]); 6] = [
        (b"thing/__init__.py", &[b"../../__init__.py", b"/hing/__init__.py", b"six-1.dist-info/x"]),
        (b"purelib/pure.py", &[b"purelib/../x.py", b"scripts/pure.py", b"data/bin/python"]),
        (b"lib64/x.txt", &[b"../../x.txt", b"lib64/../xy", b"bin/python3", b"pyvenv.cfgx"]),
        (b"scripts/run", &[b"scripts/r/n", b"purelib/run", b"scripts/..n"]),
        (
            b"thing = thing:main",
            &[b"thing = os:system(", b"../ng = thing:main", b"python = thin:main"],
        ),
        (b"thing-1.0.dist-info", &[b"thing-2.0.dist-info", b"THING-1.0.dist-info"]),
    ];
    for _ in 0..random.usize(0..3) {
        let (name, others) = NAMES[random.usize(..NAMES.len())];
        let other = others[random.usize(..others.len())];
        let all = random.bool();
        let mut at = 0;
        while let Some(next) = input[at..].windows(name.len()).position(|part| part == name) {
            at += next;
            if all || random.bool() {
                input[at..at + name.len()].copy_from_slice(other);
            }
            at += name.len();
        }
    }
    if random.bool() {
        mutate(random, input);
    }
}

fn content() -> Vec<u8> {
    (0..20_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
}

fn records_stay_inside(text: &str) -> Result<(), String> {
    for path in fuzzing::record_paths(text).into_iter().flatten() {
        if path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("{path:?} leads outside"));
        }
    }
    Ok(())
}

/// Checks that a written requirement is one line of printable ASCII, no option, and unchanged by
/// another read and write.
fn lines_stay_one(line: &str) -> Result<(), String> {
    let Some(written) = fuzzing::written_requirement(line) else { return Ok(()) };
    let is_plain = written.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !is_plain || written.contains("${") || written.contains(" #") || written.starts_with('-') {
        return Err(format!("{written:?} is more than a requirement"));
    }
    match fuzzing::written_requirement(&written) {
        Some(again) if again == written => Ok(()),
        again => Err(format!("{written:?} is read again as {again:?}")),
    }
}
