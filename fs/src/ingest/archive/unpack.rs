//! Unpacking wheels, each into a folder of its own: what is written is digested on its way, so that
//! nothing has to be believed of the folder but that nobody else writes to it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sha2::{Digest as _, Sha256};

use crate::catalog::FileContent;
use crate::id::Digest;
use crate::ingest::archive::record;
use crate::ingest::archive::record::RecordEntry;
use crate::ingest::archive::room::Room;
use crate::ingest::archive::top_level::modules;
use crate::ingest::archive::unpacked::{Unpacked, UnpackedFile};
use crate::ingest::archive::wheel::Flaw;
use crate::ingest::archive::wheel::archive::{Archive, CopyError, Entry};
use crate::ingest::archive::wheel::layout::{Expected, FileSource, Layout, Planned};
use crate::ingest::archive::wheel::scripts::Rewriting;
use crate::ingest::{AddError, folder};

/// Bytes of content from which it is written by several threads.
const LARGE_BYTES: u64 = 16 << 20;

/// Reads a wheel's archive without writing it anywhere: each file that installing it leaves, but
/// bytecode.
pub fn look(archive: &Arc<File>, expected: &Expected<'_>) -> Result<Unpacked, AddError> {
    Unpacking::of(archive, expected)?.run(None)
}

/// Unpacks a wheel into the empty folder `root`.
pub fn unpack(
    archive: &Arc<File>,
    expected: &Expected<'_>,
    root: &Path,
    space: &Room,
) -> Result<Unpacked, AddError> {
    let unpacking = Unpacking::of(archive, expected)?;
    space.take(expected.name, unpacking.bytes())?;
    unpacking.into_folder(root)
}

/// A wheel that can be unpacked, as far as its lists say.
pub struct Unpacking<'a> {
    archive: Archive,
    plan: Layout,
    expected: &'a Expected<'a>,
}

impl<'a> Unpacking<'a> {
    /// Reads what is to be read first of a wheel's archive.
    pub fn of(archive: &Arc<File>, expected: &'a Expected<'a>) -> Result<Self, AddError> {
        let plan = || {
            let (mut archive, entries) = Archive::open(archive.clone())?;
            let plan = Layout::of(&mut archive, entries, expected)?;
            Ok(Self { archive, plan, expected })
        };
        plan().map_err(refused(expected.name))
    }

    /// Bytes of all content that is in the archive.
    pub fn bytes(&self) -> u64 {
        let sizes = self.plan.files.iter().map(|file| match &file.source {
            FileSource::Entry(entry, _) | FileSource::Script(entry, _) => entry.size,
            FileSource::Text(text) => text.len() as u64,
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// Unpacks it into the empty folder `root`.
    pub fn into_folder(self, root: &Path) -> Result<Unpacked, AddError> {
        self.run(Some(root))
    }

    fn run(self, root: Option<&Path>) -> Result<Unpacked, AddError> {
        let Self { archive, plan, expected } = &self;
        let folders = plan.files.iter().filter_map(|file| file.path.rsplit_once('/'));
        let mut folders: BTreeSet<&str> = folders.map(|(folder, _)| folder).collect();
        folders.extend(plan.record.rsplit_once('/').map(|(folder, _)| folder));
        if let Some(root) = root {
            folders.iter().try_for_each(|path| folder(&root.join(path)))?;
        }
        let next = AtomicUsize::new(0);
        let share = || -> Result<Vec<(UnpackedFile, RecordLine)>, AddError> {
            let (mut archive, mut done) = (archive.clone(), Vec::new());
            while let Some(file) = plan.files.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push(write(&mut archive, file, root, expected.name)?);
            }
            Ok(done)
        };
        let workers = if self.bytes() < LARGE_BYTES {
            1
        } else {
            thread::available_parallelism().map_or(1, usize::from)
        };
        let written = thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(share)).collect();
            let mut all = share()?;
            for other in others {
                all.extend(other.join().unwrap_or_else(|_| {
                    Err(AddError::Lock("unpacking a wheel has panicked".to_owned()))
                })?);
            }
            Ok::<_, AddError>(all)
        })?;
        let (mut files, mut lines): (Vec<_>, Vec<_>) = written.into_iter().unzip();
        let (_, record_listed) = plan.record.rsplit_once("site-packages/").unwrap_or_default();
        lines.push(listed(record_listed, "", ""));
        lines.sort_unstable();
        let lines: String = lines.into_iter().map(|(_, line)| line).collect();
        let record = Planned {
            path: plan.record.clone(),
            listed: String::new(),
            source: FileSource::Text(lines),
            executable: plan.is_record_executable,
        };
        files.push(write(&mut archive.clone(), &record, root, expected.name)?.0);
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let paths = files.iter().map(|file| &*file.path);
        Ok(Unpacked {
            name: expected.name.to_owned(),
            version: plan.version.clone(),
            modules: modules(paths, &expected.interpreter.site_packages()),
            files,
            root: root.unwrap_or(Path::new("")).to_owned(),
            compiled: Vec::new(),
        })
    }
}

fn refused(name: &str) -> impl Fn(Flaw) -> AddError + use<'_> {
    move |flaw| AddError::Hostile { distribution: name.to_owned(), reason: flaw.to_string() }
}

/// A path as RECORD has it, by which that is sorted, and its line there.
type RecordLine = (String, String);

fn listed(path: &str, hash: &str, size: &str) -> RecordLine {
    (path.to_owned(), record::line(path, hash, size))
}

/// A file that is being written.
struct Target {
    /// The file, if it is written at all.
    file: Option<File>,
    digest: blake3::Hasher,
    size: u64,
    /// SHA-256 for RECORD, if the wheel's own RECORD does not say it.
    sum: Option<Sha256>,
}

impl Target {
    fn write(&mut self, part: &[u8]) -> io::Result<()> {
        self.size += part.len() as u64;
        self.digest.update(part);
        if let Some(sum) = &mut self.sum {
            sum.update(part);
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(part))
    }
}

/// Writes a file, below `root` if there is one: what it is, and RECORD's line for it.
fn write(
    archive: &mut Archive,
    planned: &Planned,
    root: Option<&Path>,
    name: &str,
) -> Result<(UnpackedFile, RecordLine), AddError> {
    let path = root.map(|root| root.join(&planned.path));
    let at = |error| AddError::at(path.as_deref().unwrap_or(Path::new("")))(error);
    let file = path.as_deref().map(|path| create(path, planned.executable)).transpose();
    let is_summed = !matches!(planned.source, FileSource::Entry(..));
    let sum = is_summed.then(Sha256::new);
    let mut target =
        Target { file: file.map_err(at)?, digest: blake3::Hasher::new(), size: 0, sum };
    let mut fields = match &planned.source {
        FileSource::Text(text) => {
            target.write(text.as_bytes()).map_err(at)?;
            (String::new(), String::new())
        }
        FileSource::Entry(entry, line) => {
            check(archive, entry, line.as_ref(), name, &at, &mut |part| target.write(part))?
        }
        FileSource::Script(entry, line) => {
            let mut rewriting = Rewriting::default();
            let mut write = |part: &[u8]| match rewriting.next(part).map_err(io::Error::other)? {
                Some(part) => target.write(&part),
                None => Ok(()),
            };
            let fields = check(archive, entry, line.as_ref(), name, &at, &mut write)?;
            if let Some(rest) = rewriting.rest() {
                target.write(&rest).map_err(at)?;
            }
            fields
        }
    };
    if let Some(sum) = target.sum.take() {
        fields = (record::hash_text(&sum.finalize()), target.size.to_string());
    }
    let object = (target.size > 0).then(|| Digest(*target.digest.finalize().as_bytes()));
    let unpacked = UnpackedFile {
        path: planned.path.clone(),
        content: FileContent { object, executable: planned.executable },
        size: target.size,
        compiled: None,
    };
    Ok((unpacked, listed(&planned.listed, &fields.0, &fields.1)))
}

/// Makes a file that is not there yet, with its mode whatever the process lets others have by default.
fn create(path: &Path, executable: bool) -> io::Result<File> {
    let mode = if executable { 0o755 } else { 0o644 };
    let file = File::options().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// Copies an entry of an archive to `write`, and compares it with what RECORD says of it. Returns the
/// hash and size that stand there.
fn check(
    archive: &mut Archive,
    entry: &Entry,
    line: Option<&RecordEntry>,
    name: &str,
    at: &dyn Fn(io::Error) -> AddError,
    write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(String, String), AddError> {
    let claim = line.map(|line| &line.claim);
    let mut original = claim.and_then(|claim| claim.sha256.as_ref()).map(|_| Sha256::new());
    let copied = archive.copy(entry, &mut |part| {
        if let Some(original) = &mut original {
            original.update(part);
        }
        write(part)
    });
    let flaw = |reason| refused(name)(Flaw::Entry { path: entry.path.clone(), reason });
    copied.map_err(|error| match error {
        CopyError::Flaw(flaw) => refused(name)(flaw),
        CopyError::Sink(error) if error.kind() == io::ErrorKind::Other => flaw(error.to_string()),
        CopyError::Sink(error) => at(error),
    })?;
    let sum = original.map(|sum| sum.finalize().to_vec()).unwrap_or_default();
    if claim.is_some_and(|claim| !claim.holds(entry.size, &sum)) {
        return Err(flaw("it is not what its RECORD says it is".to_owned()));
    }
    Ok(match line {
        Some(line) => line.fields.clone(),
        None => (String::new(), entry.size.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::archive::wheel::sample::{interpreter, wheel};

    const INFO: &str = "lib/python3.11/site-packages/thing-1.0.dist-info";

    fn looked_at(files: &[(&str, &str)]) -> Result<Unpacked, AddError> {
        let interpreter = interpreter();
        let expected =
            Expected { name: "thing", version: Some("1.0.0"), interpreter: &interpreter };
        let folder = tempfile::tempdir().unwrap();
        let room = Room::of(folder.path()).unwrap();
        let archive = wheel(files);
        let looked = look(&archive, &expected);
        let unpacked = unpack(&archive, &expected, folder.path(), &room);
        // Whoever only looks sees the same.
        match (&looked, &unpacked) {
            (Ok(looked), Ok(unpacked)) => {
                assert_eq!(looked.files, unpacked.files);
                for file in &unpacked.files {
                    let mut content = Vec::new();
                    io::Read::read_to_end(&mut unpacked.open(file).unwrap(), &mut content).unwrap();
                    let object = (!content.is_empty()).then(|| Digest::of(&content));
                    assert_eq!(file.content.object, object, "{}", file.path);
                    assert_eq!(file.size, content.len() as u64, "{}", file.path);
                    let mode = fs::metadata(unpacked.path(file)).unwrap().permissions().mode();
                    assert_eq!(mode & 0o777, if file.content.executable { 0o755 } else { 0o644 });
                }
                let record = format!("{INFO}/RECORD");
                let record = unpacked.files.iter().find(|file| file.path == record).unwrap();
                let text = fs::read_to_string(unpacked.path(record)).unwrap();
                let lines = record::parse(&text);
                assert_eq!(lines.len(), unpacked.files.len());
                for (line, file) in lines.iter().zip(0..) {
                    let path = record::resolve("lib/python3.11/site-packages", &line.path);
                    let known = unpacked.files.iter().any(|file| Some(&file.path) == path.as_ref());
                    assert!(known, "{file}: {line:?}");
                }
            }
            (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
            other => panic!("{other:?}"),
        }
        looked
    }

    fn paths(unpacked: &Unpacked) -> Vec<&str> {
        unpacked.files.iter().map(|file| &*file.path).collect()
    }

    #[test]
    fn a_wheels_files_are_where_they_belong() {
        let unpacked = looked_at(&[
            ("thing/__init__.py", ""),
            ("thing/a, b.py", "x = 1\n"),
            ("thing/tool.sh", "#!/bin/sh\n"),
            ("thing/__pycache__/__init__.cpython-311.pyc", "brought"),
            ("other.cpython-311-x86_64-linux-gnu.so", "so"),
            ("thing-1.0.data/scripts/run", "#!python\nprint()\n"),
            ("thing-1.0.data/scripts/made", "#!python\nold\n"),
            ("thing-1.0.data/headers/thing.h", "int thing;"),
            ("thing-1.0.data/data/lib64/x/y.txt", "y"),
            ("thing-1.0.data/platlib/plat.py", "x = 2\n"),
            ("other-1.0.data/purelib/six.py", "x = 3\n"),
            ("thing-1.0.dist-info/entry_points.txt", "[console_scripts]\nmade = thing:f\n"),
            ("thing-1.0.dist-info/INSTALLER", "somebody else"),
            ("thing-1.0.dist-info/REQUESTED", ""),
        ])
        .unwrap();
        let site = |path: &str| format!("lib/python3.11/site-packages/{path}");
        let mut expected = vec![
            "bin/made".to_owned(),
            "bin/run".to_owned(),
            "include/site/python3.11/thing/thing.h".to_owned(),
            "lib/x/y.txt".to_owned(),
            site("other-1.0.data/purelib/six.py"),
            site("other.cpython-311-x86_64-linux-gnu.so"),
            site("plat.py"),
            site("thing/__init__.py"),
            site("thing/a, b.py"),
            site("thing/tool.sh"),
        ];
        let own = ["INSTALLER", "RECORD", "WHEEL", "entry_points.txt"];
        expected.extend(own.map(|name| format!("{INFO}/{name}")));
        expected.sort_unstable();
        assert_eq!(paths(&unpacked), expected);
        assert_eq!(unpacked.modules, ["other", "plat", "thing"]);
        let executable = unpacked.files.iter().filter(|file| file.content.executable);
        let executable: Vec<_> = executable.map(|file| &*file.path).collect();
        assert_eq!(executable, ["bin/made", "bin/run", &*site("thing/tool.sh")]);
    }

    #[test]
    fn what_a_wheel_says_of_itself_is_held_against_it() {
        let record = ("thing-1.0.dist-info/RECORD", "a.py,sha256=AAAA,2\n");
        for (files, says) in [
            (&[("a.py", "x"), record][..], "RECORD says"),
            (&[("thing-1.0.dist-info/WHEEL", "Wheel-Version: 2.0\n")], "WHEEL"),
            (
                &[("thing-1.0.dist-info/RECORD", "\u{0}"), ("x-1.dist-info/RECORD", "")],
                "may have one",
            ),
            (&[("thing-1.0.data/purelib/X-1.Dist-Info/RECORD", "")], "another distribution"),
            (
                &[("thing-1.0.data/data/lib64/python3.11/site-packages/x-1.dist-info/y", "")],
                "another",
            ),
            (&[("thing-1.0.data/purelib/thing-1.0.dist-info/WHEEL", "")], "twice"),
            (&[("thing-1.0.data/purelib/thing-1.0.dist-info/RECORD", "")], "twice"),
            (&[("thing-1.0.data/bin/x", "")], "kind of data"),
            (&[("thing-1.0.data/scripts", "")], "kind of data"),
            (&[("thing-1.0.data/scripts/a/b", "")], "folders of scripts"),
            (&[("thing-1.0.data/scripts/python3", "")], "reserved"),
            (&[("a", ""), ("a/b", "")], "folder of others"),
            (&[("thing-1.0.data/purelib/a", ""), ("a/b", "")], "folder of others"),
            (&[("a\u{1b}[2J.py", "")], "control characters"),
            (&[("/etc/x", "")], "elsewhere"),
            (&[("a/../../x", "")], "elsewhere"),
        ] {
            let error = looked_at(files).unwrap_err();
            let text = error.to_string();
            assert!(error.is_bad_input() && text.contains(says), "{files:?}: {text}");
            assert!(text.contains("thing") && !text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn what_is_of_another_name_or_version_is_refused() {
        let (interpreter, archive) = (interpreter(), wheel(&[]));
        let looked = |name, version| {
            look(&archive, &Expected { name, version, interpreter: &interpreter }).is_ok()
        };
        assert!(looked("thing", Some("1.0")) && looked("thing", None));
        assert!(!looked("thing", Some("1.1")) && !looked("other", None));
    }

    #[test]
    fn no_more_than_half_of_what_is_free_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::with(folder.path(), 1000);
        let interpreter = interpreter();
        let expected = Expected { name: "thing", version: None, interpreter: &interpreter };
        let archive = wheel(&[("a.txt", &"a".repeat(900))]);
        let (first, second) = (folder.path().join("1"), folder.path().join("2"));
        unpack(&archive, &expected, &first, &room).unwrap();
        let error = unpack(&archive, &expected, &second, &room).unwrap_err();
        assert!(error.to_string().contains("half of the free space") && !second.exists());
    }
}
