//! Paths of folders and files, in the one form that the kernel has for each.
//!
//! Lists of mounts, processes and connections are compared with paths of settings, and have no symbolic
//! links in them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error};

use super::error::{SettingsError, Wrong};
use super::kind::{FlagKind, Kind};
use super::variables::Variables;

/// Links that one path may lead over, as for the kernel.
const MOST_LINKS: u32 = 40;

/// The word that turns off the thing that a path would name.
const NONE: &str = "none";

/// The path of a folder.
pub(super) enum Folder {}

impl Kind for Folder {
    type Said = PathBuf;
    type Value = PathBuf;

    const EXAMPLE: &'static str = "\"/folder\"";
    const IS_QUOTED: bool = true;

    /// Relative paths mean nothing in the file, which is read from any working directory.
    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let path = PathBuf::deserialize(from)?;
        if !path.is_absolute() {
            return Err(D::Error::custom(format!("`{}` is not an absolute path", path.display())));
        }
        Ok(path)
    }

    fn settle(said: PathBuf, _: &Variables) -> Result<PathBuf, SettingsError> {
        Ok(canonical(&absolute(said)?))
    }

    fn write(value: &PathBuf) -> Option<OsString> {
        Some(value.into())
    }
}

impl FlagKind for Folder {
    const NAME: &'static str = "DIR";
    const IS_PATH: bool = true;

    fn read(text: &OsStr) -> Result<PathBuf, Wrong> {
        Ok(text.into())
    }
}

/// The path of a file that `none` turns off.
pub(super) enum PathOrNone {}

impl Kind for PathOrNone {
    type Said = Option<PathBuf>;
    type Value = Option<PathBuf>;

    const EXAMPLE: &'static str = "\"/file\"";
    const IS_QUOTED: bool = true;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(from)?;
        if !path.is_absolute() && path != Path::new(NONE) {
            let shown = path.display();
            let reason = format!("`{shown}` is neither an absolute path nor `none`");
            return Err(D::Error::custom(reason));
        }
        Ok(Some(path).filter(|path| path != Path::new(NONE)))
    }

    fn settle(said: Option<PathBuf>, _: &Variables) -> Result<Option<PathBuf>, SettingsError> {
        said.map(absolute).transpose()
    }

    fn write(value: &Option<PathBuf>) -> Option<OsString> {
        Some(value.as_ref().map_or_else(|| NONE.into(), Into::into))
    }
}

impl FlagKind for PathOrNone {
    const NAME: &'static str = "PATH";
    const IS_PATH: bool = true;

    fn read(text: &OsStr) -> Result<Option<PathBuf>, Wrong> {
        Ok(Some(text.into()).filter(|path| path != Path::new(NONE)))
    }
}

/// The path, made absolute from the working directory.
pub(super) fn absolute(path: PathBuf) -> Result<PathBuf, SettingsError> {
    std::path::absolute(&path).map_err(|source| SettingsError::Relative { path, source })
}

/// An absolute path without symbolic links, as far as it exists, and without `..`. Parts that cannot be
/// looked at are left as they are.
pub(super) fn canonical(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::from("/");
    let mut rest: Vec<OsString> = Vec::new();
    put_before(&mut rest, path);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match Path::new(&part).components().next() {
            Some(Component::Normal(name)) => {
                let next = resolved.join(name);
                // Nothing is asked of a file system that is mounted there: a mount is a folder.
                match fs::read_link(&next) {
                    Ok(target) if links < MOST_LINKS => {
                        links += 1;
                        put_before(&mut rest, &target);
                    }
                    _ => resolved = next,
                }
            }
            Some(Component::ParentDir) => drop(resolved.pop()),
            Some(Component::RootDir) => resolved = PathBuf::from("/"),
            _ => {}
        }
    }
    resolved
}

/// Puts the parts of a path before those that are left, which are in reverse order.
fn put_before(rest: &mut Vec<OsString>, path: &Path) {
    rest.extend(path.components().rev().map(|part| part.as_os_str().to_owned()));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_as_far_as_there_is_anything() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let at = |path: &str| root.join(path);
        fs::create_dir_all(at("real/inner")).unwrap();
        symlink("real", at("link")).unwrap();
        symlink(at("link/inner"), at("real/absolute")).unwrap();
        symlink("missing/../gone", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for (path, expected) in [
            ("link/inner/new/x", "real/inner/new/x"),
            ("real/absolute/../x", "real/x"),
            ("link/absolute", "real/inner"),
            ("none/../link/./y", "real/y"),
            ("dangling/x", "gone/x"),
            ("loop/x", "loop/x"),
        ] {
            assert_eq!(canonical(&at(path)), at(expected), "{path}");
        }
        assert_eq!(canonical(Path::new("/../..")), Path::new("/"));
    }
}
