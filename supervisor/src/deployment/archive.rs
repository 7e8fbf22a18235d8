//! Code that comes as a zip or a wheel, unpacked. The archive may be hostile.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::sys::stat::SFlag;
use zip::ZipArchive;
use zip::result::ZipError;

use super::folder::{DeployError, MAX_BYTES, MAX_ENTRIES, create_folder, finish_file};

/// Longest path in an archive, in bytes: half of the kernel's limit, because the target's path precedes it.
const MAX_PATH: usize = 2048;
/// Longest name of a file or folder, in bytes, as file systems have it.
const MAX_NAME: usize = 255;

/// Unpacks a zip, which messages call `source`, into the folder `target`, which is empty.
///
/// Refuses paths that could lead elsewhere (absolute paths, `..`, links), paths that are there twice,
/// and more than `left` bytes or too many entries, whatever the archive's headers say.
pub fn unpack(zip: File, source: &Path, target: &Path, left: &mut u64) -> Result<(), DeployError> {
    unpack_as(zip, source, target, left, |path| Some(path.to_owned()))
}

/// Variant of [`unpack`] for a wheel: `NAME.data/purelib` and `platlib` go beside the rest; other data
/// of the wheel is for an installation and left out.
pub fn unpack_wheel(
    zip: File,
    source: &Path,
    target: &Path,
    left: &mut u64,
) -> Result<(), DeployError> {
    unpack_as(zip, source, target, left, |path| {
        let mut parts = path.components();
        let first = parts.next().map(|part| Path::new(part.as_os_str()))?;
        if first.extension().is_none_or(|extension| extension != "data") {
            return Some(path.to_owned());
        }
        let kind = parts.next()?.as_os_str();
        (kind == "purelib" || kind == "platlib").then(|| parts.as_path().to_owned())
    })
}

/// Unpacks to where `place` says that a path of the archive goes; `None` leaves the path out.
fn unpack_as(
    zip: File,
    source: &Path,
    target: &Path,
    left: &mut u64,
    place: impl Fn(&Path) -> Option<PathBuf>,
) -> Result<(), DeployError> {
    let refused = |why: String| DeployError::Source(format!("{}: {why}", source.display()));
    let unreadable = |error: ZipError| refused(error.to_string());
    let bytes = zip.metadata().map_err(|error| refused(error.to_string()))?.len();
    if bytes > MAX_BYTES {
        return Err(refused(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    let mut archive = ZipArchive::new(io::BufReader::new(zip)).map_err(unreadable)?;
    if archive.len() > MAX_ENTRIES {
        let count = archive.len();
        return Err(refused(format!("it has {count} entries, more than {MAX_ENTRIES}")));
    }
    if archive.has_duplicate_names() {
        return Err(refused("it has a path twice".to_owned()));
    }
    if archive.has_overlapping_files().map_err(unreadable)? {
        return Err(refused("files in it share bytes, as in a zip bomb".to_owned()));
    }
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(unreadable)?;
        let name = entry.entry().name().map_err(unreadable)?.into_owned();
        let of = |why: &str| refused(format!("{name:?}: {why}"));
        let path = inside(&name).ok_or_else(|| of("the path could lead elsewhere"))?;
        let kind = entry.entry().unix_mode().unwrap_or_default() & SFlag::S_IFMT.bits();
        let is_folder = entry.entry().is_dir();
        let usual = if is_folder { SFlag::S_IFDIR } else { SFlag::S_IFREG };
        if kind != 0 && kind != usual.bits() {
            return Err(of("it is neither a file nor a folder"));
        }
        if entry.entry().encrypted() {
            return Err(of("it is encrypted"));
        }
        if entry.entry().size() > *left {
            return Err(of(&format!("with it the code is larger than {} MiB", MAX_BYTES >> 20)));
        }
        let Some(path) = place(path).filter(|path| !is_left_out(path)) else { continue };
        let to = target.join(&path);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => of("it, or a folder of it, is there twice"),
            _ => DeployError::Copy(to.display().to_string(), error),
        };
        if is_folder {
            create_folders(target, &path).map_err(failed)?;
            continue;
        }
        create_folders(target, path.parent().unwrap_or(Path::new(""))).map_err(failed)?;
        let mut file = File::create_new(&to).map_err(failed)?;
        let mut content = (&mut entry).take(*left + 1);
        let copied = io::copy(&mut content, &mut file).map_err(|error| of(&error.to_string()))?;
        finish_file(&to, copied, entry.entry().unix_mode().unwrap_or_default(), left)?;
    }
    Ok(())
}

/// Path of an archive's entry, if it is plain: relative, with no part empty, `.` or `..`.
fn inside(name: &str) -> Option<&Path> {
    let path = name.strip_suffix('/').unwrap_or(name);
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= MAX_NAME;
    let is_text = !path.contains(['\\', '\0']) && path.len() <= MAX_PATH;
    (is_text && path.split('/').all(is_plain)).then(|| Path::new(path))
}

/// True for an empty path, and for bytecode of another place, which is made anew here.
fn is_left_out(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.components().any(|part| part.as_os_str() == "__pycache__")
}

fn create_folders(target: &Path, path: &Path) -> io::Result<()> {
    let mut folder = target.to_owned();
    for part in path.components() {
        folder.push(part);
        match create_folder(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            made => made?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn packed(folder: &Path, entries: &[(&str, &[u8], u32)]) -> PathBuf {
        let path = folder.join("x.zip");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        for (name, content, mode) in entries {
            let options = SimpleFileOptions::default().unix_permissions(*mode);
            writer.start_file(*name, options).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push(path.strip_prefix(folder).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_wheels_data_is_put_where_it_is_imported_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = packed(
            folder.path(),
            &[
                ("a/__init__.py", b"", 0o644),
                ("a/__pycache__/__init__.cpython-311.pyc", b"", 0o644),
                ("a-1.data/purelib/b.py", b"", 0o644),
                ("a-1.data/platlib/a/c.so", b"", 0o755),
                ("a-1.data/scripts/run", b"", 0o755),
                ("a-1.dist-info/METADATA", b"", 0o644),
            ],
        );
        let target = tempfile::tempdir().unwrap();
        unpack_wheel(File::open(&path).unwrap(), &path, target.path(), &mut 1000).unwrap();
        let expected = ["a-1.dist-info/METADATA", "a/__init__.py", "a/c.so", "b.py"];
        assert_eq!(files(target.path()), expected);
    }

    #[test]
    fn what_is_too_much_is_refused_whatever_was_said_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = packed(folder.path(), &[("a", &[0; 600], 0o644), ("b", &[0; 600], 0o644)]);
        for (left, is_refused) in [(1200, false), (1199, true), (0, true)] {
            let target = tempfile::tempdir().unwrap();
            let zip = File::open(&path).unwrap();
            let unpacked = unpack(zip, &path, target.path(), &mut { left });
            assert_eq!(unpacked.is_err(), is_refused, "{left}: {unpacked:?}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_known() {
        for name in ["a", "a/b.py", "a/", "ä/…"] {
            assert!(inside(name).is_some(), "{name}");
        }
        let (deep, long) = ("a/".repeat(1500), "a".repeat(256));
        for name in ["", "/", "/a", "..", "a/../b", "./a", "a//b", "a\\..\\b", "a\0b", &deep, &long]
        {
            assert!(inside(name).is_none(), "{name}");
        }
    }
}
