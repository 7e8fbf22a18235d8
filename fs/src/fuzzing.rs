//! Doors for the fuzz harness: the readers of what may be damaged or hostile, and a small state
//! folder to damage.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::path::Path;
use std::sync::Arc;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::id::Digest;
use crate::ingest::archive::record;
use crate::ingest::archive::room::Room;
use crate::ingest::archive::unpack::unpack;
use crate::ingest::archive::wheel::layout::Expected;
use crate::ingest::requirement::Requirement;
use crate::ingest::resolve::lock;
use crate::interpreter::Interpreter;
use crate::store::Location;
use crate::store::append::Appender;
use crate::store::local::Local;
use crate::store::segment::{self, FRAME_BYTES, FrameWriter};
use crate::vfs::{FileKind, Vfs};
use crate::view::compile::compile;
use crate::view::index;
use crate::view::inode::ROOT;
use crate::view::merge::ViewEntry;
use crate::view::published::{Published, index_path};

/// Most nodes that a walk visits, and deepest folder: a damaged index may lead in circles.
const MOST_NODES: usize = 2000;
const DEEPEST: usize = 32;
/// Bytes asked for at once, as the kernel does.
const PIECE: usize = 128 << 10;
/// Most bytes that are read of one file; none of the sample has as many.
const MOST_BYTES: u64 = 1 << 20;

/// Findings of a walk by path: a file's content, a link's target, or why it cannot be had.
pub type Found = BTreeMap<String, Result<Vec<u8>, String>>;

/// Writes a state folder that has one environment; what is in it.
pub fn write_sample(state: &Path) -> io::Result<Found> {
    let (segments, views) = (Local::of(state), state.join("views"));
    segments.create().map_err(io::Error::other)?;
    fs::create_dir_all(&views)?;
    let large: Vec<u8> =
        (0..2 * FRAME_BYTES / 8 + 1000).flat_map(|n| (n / 3).to_le_bytes()).collect();
    let contents = [
        ("lib/package/__init__.py", b"import this\n".to_vec()),
        ("lib/package/data/größe.txt", b"x".repeat(5000)),
        ("lib/package/library.so", large),
        ("bin/script", b"#!/bin/sh\nexit 0\n".to_vec()),
    ];
    let (mut entries, mut locations) = (BTreeMap::new(), HashMap::new());
    let (mut found, mut stream) = (Found::new(), Vec::new());
    for (id, (path, content)) in (1..).zip(contents) {
        let (position, size) = (stream.len() as u64, content.len() as u64);
        stream.extend_from_slice(&content);
        locations.insert(id, Location { segment: 1, position, size });
        let executable = path.starts_with("bin/");
        entries.insert(path.to_owned(), ViewEntry::File { object: id, executable });
        found.insert(path.to_owned(), Ok(content));
    }
    let mut appender = Appender::begin(&*segments, 1).map_err(io::Error::other)?;
    let mut writer = FrameWriter::new()?;
    for part in stream.chunks(FRAME_BYTES) {
        appender.append(&writer.frame(part)?).map_err(io::Error::other)?;
    }
    appender.seal(stream.len() as u64).map_err(io::Error::other)?;
    entries.insert("lib64".to_owned(), ViewEntry::Link("lib".to_owned()));
    found.insert("lib64".to_owned(), Ok(b"lib".to_vec()));
    entries.insert("lib/package/py.typed".to_owned(), ViewEntry::Empty { executable: false });
    found.insert("lib/package/py.typed".to_owned(), Ok(Vec::new()));
    fs::write(index_path(&views, "sample"), compile(&entries, &locations, 100, &[]))?;
    let envs = BTreeMap::from([("sample".to_owned(), "sample".to_owned())]);
    Published { generation: 1, envs, ..Published::default() }.write(&views)?;
    Ok(found)
}

/// A wheel `thing` 1.0 with a file of each kind.
pub fn write_wheel() -> io::Result<Vec<u8>> {
    let files = [
        ("thing/__init__.py", "x = 1\n"),
        ("thing-1.0.data/scripts/run", "#!python\nprint()\n"),
        ("thing-1.0.data/purelib/pure.py", "x = 2\n"),
        ("thing-1.0.data/data/lib64/x.txt", "x"),
        ("thing-1.0.data/headers/thing.h", "int thing;"),
        ("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n"),
        ("thing-1.0.dist-info/entry_points.txt", "[console_scripts]\nthing = thing:main\n"),
        ("thing-1.0.dist-info/RECORD", "thing/__init__.py,,6\nthing-1.0.dist-info/RECORD,,\n"),
    ];
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (number, (path, content)) in files.into_iter().enumerate() {
        let method =
            if number % 2 == 0 { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(path, options)?;
        writer.write_all(content.as_bytes())?;
    }
    Ok(writer.finish()?.into_inner())
}

/// Unpacks a wheel into an empty folder, as what it should be: the paths of its files, and whether each
/// is there. `None` if it is refused.
pub fn unpack_wheel(wheel: &[u8], folder: &Path) -> io::Result<Option<Vec<(String, bool)>>> {
    let interpreter: Interpreter = serde_json::from_str(
        r#"{ "executable": "/usr/bin/python3.11", "version": "3.11.7", "base_prefix": "/usr",
        "cache_tag": "cpython-311", "implementation": "cpython", "platform": "linux-x86_64" }"#,
    )?;
    let mut file = tempfile::tempfile()?;
    file.write_all(wheel)?;
    let expected = Expected { name: "thing", version: Some("1.0"), interpreter: &interpreter };
    let space = Room::of(folder).map_err(io::Error::other)?;
    match unpack(&Arc::new(file), &expected, folder, &space) {
        Ok(unpacked) => {
            let files = unpacked.files.iter().map(|file| {
                let read = unpacked.open(file).and_then(|mut open| {
                    let mut content = Vec::new();
                    open.read_to_end(&mut content).map(|_| content)
                });
                let is_right = |content: Vec<u8>| {
                    let digest = (!content.is_empty()).then(|| Digest::of(&content));
                    digest == file.content.object && content.len() as u64 == file.size
                };
                (file.path.clone(), read.is_ok_and(is_right))
            });
            Ok(Some(files.collect()))
        }
        Err(error) if error.is_bad_input() => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Reads everything in the environment of a state folder, as the kernel would: listing, looking
/// up and reading in pieces. Fails where the state cannot be served at all.
pub fn walk(state: &Path) -> Result<Found, String> {
    let vfs = Vfs::open(state).map_err(|error| error.to_string())?;
    let envs = vfs.lookup(ROOT, "envs").ok().flatten().ok_or("no envs")?;
    let sample = vfs.lookup(envs.inode, "sample").map_err(|error| error.to_string())?;
    let mut found = Found::new();
    if let Some(sample) = sample {
        let mut left = MOST_NODES;
        let root = follow_link(&vfs, envs.inode, sample.inode)?;
        walk_folder(&vfs, root, "", 0, &mut left, &mut found);
    }
    Ok(found)
}

/// The folder to which a link in a folder leads.
fn follow_link(vfs: &Vfs, folder: u64, link: u64) -> Result<u64, String> {
    let target = vfs.link(link).map_err(|error| error.to_string())?;
    target.split('/').try_fold(folder, |folder, name| {
        let found = vfs.lookup(folder, name).map_err(|error| error.to_string())?;
        found.map(|found| found.inode).ok_or_else(|| format!("{target} leads nowhere"))
    })
}

fn walk_folder(
    vfs: &Vfs,
    folder: u64,
    path: &str,
    depth: usize,
    left: &mut usize,
    found: &mut Found,
) {
    let entries = match vfs.list(folder, 2) {
        Ok(entries) => entries,
        Err(error) => {
            found.insert(path.to_owned(), Err(error.to_string()));
            return;
        }
    };
    for entry in entries {
        if *left == 0 || depth == DEEPEST {
            return;
        }
        *left -= 1;
        let path =
            if path.is_empty() { entry.name.clone() } else { format!("{path}/{}", entry.name) };
        // Names out of order are found in a listing and not by a lookup; both must come to an end.
        let inode = entry.attributes.inode;
        let known = vfs.lookup(folder, &entry.name).and_then(|_| vfs.attributes(inode));
        let content = match (known, entry.attributes.kind) {
            (Err(error), _) => Err(error.to_string()),
            (Ok(_), FileKind::Folder) => {
                walk_folder(vfs, inode, &path, depth + 1, left, found);
                continue;
            }
            (Ok(_), FileKind::Link) => {
                let target = vfs.link(inode).map(String::into_bytes);
                target.map_err(|error| error.to_string())
            }
            (Ok(attributes), FileKind::File) => read(vfs, inode, attributes.size),
        };
        found.insert(path, content);
    }
}

fn read(vfs: &Vfs, inode: u64, size: u64) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let end = size.min(MOST_BYTES);
    while (content.len() as u64) < end {
        let piece = vfs.read(inode, content.len() as u64, PIECE).map_err(|e| e.to_string())?;
        if piece.is_empty() {
            return Err(format!("it ends after {} of {size} bytes", content.len()));
        }
        content.extend_from_slice(&piece);
    }
    // Where a large file ends, which may be anywhere.
    vfs.read(inode, size.saturating_sub(1), PIECE).map_err(|error| error.to_string())?;
    Ok(content)
}

/// Gives a changed index the checksum that belongs to it, so that what it says is looked at.
pub fn reseal_index(bytes: &mut [u8]) {
    index::reseal(bytes);
}

/// The paths that a RECORD names, each from the environment's root where it stays inside.
pub fn record_paths(text: &str) -> Vec<Option<String>> {
    let lines = record::parse(text).into_iter();
    lines.map(|line| record::resolve("lib/python3.11/site-packages", &line.path)).collect()
}

/// Reads a lock; whether it could be used.
pub fn is_lock(text: &str) -> bool {
    lock::parse(text).is_ok()
}

/// The text that uv would be given for a line, if the line asks for a package.
pub fn written_requirement(line: &str) -> Option<String> {
    Requirement::parse(line).ok().map(|requirement| requirement.to_string())
}

/// Compresses content of one frame at most.
pub fn frame_of(content: &[u8]) -> io::Result<Vec<u8>> {
    FrameWriter::new()?.frame(content)
}

/// Decodes a frame that is to hold `expected` bytes.
pub fn decode_frame(frame: &[u8], expected: usize) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    segment::decode_frame(frame, expected, &mut content)?;
    Ok(content)
}
