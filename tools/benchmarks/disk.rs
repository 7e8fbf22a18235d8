//! Disk use of file trees, and the files in them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Failure;

/// Bytes of a tree, in whole blocks as the file system allocates them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// All files, with each name of a file counted.
    pub all: u64,
    /// Folders, links, and files without another name elsewhere.
    pub own: u64,
}

/// The disk use of a tree.
pub fn usage(root: &Path) -> Result<Usage, Failure> {
    let mut usage = Usage::default();
    walk(root, &mut |_, metadata| {
        let bytes = metadata.blocks() * 512;
        usage.all += bytes;
        if metadata.is_dir() || metadata.nlink() == 1 {
            usage.own += bytes;
        }
    })?;
    Ok(usage)
}

/// Everything below a folder and the folder itself, each by path with metadata.
pub fn paths(root: &Path) -> Result<Vec<(PathBuf, fs::Metadata)>, Failure> {
    let mut found = Vec::new();
    walk(root, &mut |path, metadata| found.push((path.to_owned(), metadata.clone())))?;
    Ok(found)
}

fn walk(path: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata)) -> Result<(), Failure> {
    let named = |error| format!("{}: {error}", path.display());
    let metadata = fs::symlink_metadata(path).map_err(named)?;
    visit(path, &metadata);
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(named)? {
            walk(&entry?.path(), visit)?;
        }
    }
    Ok(())
}
