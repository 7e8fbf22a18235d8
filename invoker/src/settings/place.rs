//! Where things are, by the one path that the kernel has for it.
//!
//! Lists of mounts, processes and connections are compared with paths of settings, and have no symbolic
//! links in them.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links that one path may lead over, as for the kernel.
const MOST_LINKS: u32 = 40;

/// An absolute path without symbolic links, as far as it is there, and without `..`. What cannot be
/// looked at is left as it is.
pub fn canonical(path: &Path) -> PathBuf {
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
