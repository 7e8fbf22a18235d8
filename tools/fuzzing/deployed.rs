//! Folders, files and archives that a user may deploy.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use pipsqueakd::deployment::fuzzing::deploy;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::mutation::{mutate, mutate_text};

/// Content of the secret file that links lead to.
const SECRET: &[u8] = b"hunter2";

/// Names of files and folders, including those that the reader knows.
const NAMES: [&[u8]; 16] = [
    b"main.py",
    b"f.py",
    b"lambda_function.py",
    b"app.py",
    b"__init__.py",
    b"package",
    b".git",
    b"__pycache__",
    b"requirements.txt",
    b"a b\n\x1b[2J",
    b"\xff\xfe",
    b"..py",
    b"...",
    "größe.py".as_bytes(),
    b"x.data",
    b"\\",
];

/// Paths of an archive's entries.
const ENTRIES: [&str; 16] = [
    "main.py",
    "package/",
    "package/__init__.py",
    "package",
    "../main.py",
    "/main.py",
    "package/../../x",
    "a//b",
    "./x",
    "x.data/purelib",
    "x.data/purelib/",
    "x.data/purelib/main.py",
    "x.data/platlib/../../y",
    "x.data/scripts/run",
    ".git/x",
    "C:\\x",
];

/// Paths of archive entries that the reader accepts.
const SOUND_ENTRIES: [&str; 5] =
    ["handler.py", "pkg/__init__.py", "lib/", "x.data/platlib/p.py", "a/b/c.py"];

/// Python code, which is then damaged.
const CODE: &str = "import os, numpy as np\nfrom a.b import (c,\n d)\ndef handler(event, *, x='''\n'''):\n    \
                    return f\"{event!r:>{10}}\"\napp = Flask(__name__)\n";
const PIECES: [&str; 16] = [
    "\"", "'''", "(", ")", "[", "\\\n", "\n    ", "\t", "\0", "f'{", "}", "def ", "async ",
    "import ", "é", "\u{feff}",
];

/// Deploys a random source; the error names a violation.
pub fn try_one(state: &Path, random: &mut Rng) -> Result<(), String> {
    let folder = tempfile::tempdir_in(state).map_err(|error| error.to_string())?;
    let made = make(folder.path(), random).map_err(|error| format!("making a source: {error}"))?;
    let target = folder.path().join("target");
    let is_copied = deploy(&made, &target)?;
    if is_copied { is_plain(&made, &target) } else { Ok(()) }
}

/// Makes a random source to deploy, beside a secret.
fn make(folder: &Path, random: &mut Rng) -> io::Result<PathBuf> {
    let secret = folder.join("secret");
    fs::create_dir(&secret)?;
    fs::write(secret.join("main.py"), SECRET)?;
    match random.u8(..8) {
        0 | 1 => {
            let path = folder.join(if random.bool() { "x.zip" } else { "x.whl" });
            fs::write(&path, archive(random)?)?;
            Ok(path)
        }
        2 => {
            let path = folder.join("x.py");
            fs::write(&path, code(random))?;
            Ok(path)
        }
        3 => something(folder, &secret, random),
        _ => {
            let path = folder.join("source");
            fs::create_dir(&path)?;
            fill(&path, &secret, 0, random)?;
            Ok(path)
        }
    }
}

/// Fills a folder, most often with acceptable files.
fn fill(folder: &Path, secret: &Path, depth: usize, random: &mut Rng) -> io::Result<()> {
    for _ in 0..random.usize(..5) {
        let path = match random.u8(..40) {
            0 => something(folder, secret, random)?,
            1 if depth == 0 => chain(folder, random.usize(50..80))?,
            2..10 if depth < 4 => {
                let path = folder.join(name(random));
                match fs::create_dir(&path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    made => made?,
                }
                fill(&path, secret, depth + 1, random)?;
                path
            }
            _ => {
                let path = folder.join(name(random));
                if !path.exists() {
                    fs::write(&path, code(random))?;
                }
                path
            }
        };
        if random.u8(..10) == 0 && !path.is_symlink() {
            fs::set_permissions(&path, Permissions::from_mode(random.u32(..0o10000)))?;
        }
    }
    Ok(())
}

/// Makes a special file, a link, or a file that is too large; returns its path.
fn something(folder: &Path, secret: &Path, random: &mut Rng) -> io::Result<PathBuf> {
    let path = folder.join(format!("odd{}.py", random.u16(..)));
    if path.symlink_metadata().is_ok() {
        return Ok(path);
    }
    match random.u8(..9) {
        0 => symlink(secret.join("main.py"), &path)?,
        1 => symlink(secret, &path)?,
        2 => symlink(&path, &path)?,
        3 => symlink("/nowhere", &path)?,
        4 => mkfifo(&path, Mode::S_IRWXU)?,
        // Longer ones are no address of a socket.
        5 if path.as_os_str().len() < 100 => drop(UnixListener::bind(&path)?),
        6 => mknod(&path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 5))?,
        7 => File::create(&path)?.set_len((512 << 20) + u64::from(random.u32(1..)))?,
        _ => fs::hard_link(secret.join("main.py"), path.with_extension("txt"))?,
    }
    Ok(if path.symlink_metadata().is_ok() { path } else { path.with_extension("txt") })
}

/// Makes nested folders; returns the outermost one.
fn chain(folder: &Path, depth: usize) -> io::Result<PathBuf> {
    let path = folder.join("deep");
    fs::create_dir_all((0..depth).fold(path.clone(), |path, _| path.join("d")))?;
    Ok(path)
}

fn name(random: &mut Rng) -> PathBuf {
    let known = random.choice(NAMES).unwrap_or_default();
    let name =
        if random.u8(..20) == 0 { known.repeat(random.usize(1..28)) } else { known.to_vec() };
    let name = &name[..name.len().min(255)];
    PathBuf::from(OsStr::from_bytes(name))
}

fn code(random: &mut Rng) -> Vec<u8> {
    let mut code = CODE.as_bytes().to_vec();
    if random.bool() {
        mutate_text(random, &mut code, &PIECES);
    }
    code
}

fn archive(random: &mut Rng) -> io::Result<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for _ in 0..random.usize(..6) {
        let is_sound = random.u8(..8) != 0;
        let path = if is_sound { random.choice(SOUND_ENTRIES) } else { random.choice(ENTRIES) };
        let path = path.unwrap_or_default();
        let deflated = random.bool();
        let method = if deflated { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        let mode = if random.u8(..8) == 0 { random.u32(..0o10000) } else { 0o644 };
        let options =
            SimpleFileOptions::default().compression_method(method).unix_permissions(mode);
        // A path twice is no archive that this makes.
        let begun = match random.u8(..10) {
            0 => writer.add_symlink(path, "../secret/main.py", options).is_ok(),
            _ => writer.start_file(path, options).is_ok(),
        };
        if begun && !path.is_empty() {
            // After a link there is nothing to write to.
            let _ = writer.write_all(&code(random));
        }
    }
    let mut bytes = writer.finish().map_err(io::Error::other)?.into_inner();
    if random.bool() {
        mutate(random, &mut bytes);
    }
    Ok(bytes)
}

/// Checks that a copy holds only files and folders that all may read, and no target of a link.
fn is_plain(source: &Path, target: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", target.display());
    for entry in fs::read_dir(target).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let found = path.symlink_metadata().map_err(failed)?;
        let kind = found.file_type();
        let mode = found.mode() & 0o7777;
        if kind.is_symlink() || kind.is_fifo() || kind.is_socket() || kind.is_char_device() {
            return Err(format!("{} was copied as it is", path.display()));
        }
        if kind.is_dir() {
            if mode != 0o755 {
                return Err(format!("{} has mode {mode:o}", path.display()));
            }
            is_plain(source, &path)?;
        } else if mode != 0o755 && mode != 0o644 {
            return Err(format!("{} has mode {mode:o}", path.display()));
        } else if fs::read(&path).map_err(failed)? == SECRET && !is_brought(source) {
            return Err(format!("{} has what a link led to", path.display()));
        }
    }
    Ok(())
}

/// True if the source itself holds the secret, as another name of the same file.
fn is_brought(source: &Path) -> bool {
    let Ok(entries) = fs::read_dir(source) else {
        return source.symlink_metadata().is_ok_and(|found| found.is_file() && found.nlink() > 1);
    };
    entries.flatten().any(|entry| {
        entry.metadata().is_ok_and(|found| {
            found.is_file() && found.nlink() > 1 || found.is_dir() && is_brought(&entry.path())
        })
    })
}
