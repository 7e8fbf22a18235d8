//! `/etc` of every sandbox: what an interpreter and its libraries read there, and nothing secret.
//!
//! The folder is made of copies: each mount in the base is one more to copy for each sandbox, and inodes of the host's
//! own are a way to it. The copies are brought up to date when the host's are others.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::layout::{create_folder, write_file};
use crate::sandbox::places::SYSTEM;

/// Files that are made up.
const MADE: [(&str, &str); 5] = [
    ("passwd", "root:x:0:0:root:/tmp:/bin/false\nfunction:x:1000:1000:function:/tmp:/bin/sh\n"),
    ("group", "root:x:0:\nfunction:x:1000:\n"),
    // Each sandbox has its own, made of this or of the host's.
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    // Only sandboxes that reach the host's network have another mounted here.
    ("resolv.conf", ""),
];

/// Files that are the same for everybody and hold no secret.
const FILES: [&str; 17] = [
    "debian_version",
    "gai.conf",
    "ld.so.cache",
    "ld.so.conf",
    "locale.alias",
    "localtime",
    "lsb-release",
    "mime.types",
    "os-release",
    "pki/tls/cert.pem",
    "pki/tls/openssl.cnf",
    "protocols",
    "redhat-release",
    "services",
    "ssl/cert.pem",
    "ssl/openssl.cnf",
    "timezone",
];

/// Folders of such files. Programs in `/usr` lead into them by links.
const FOLDERS: [&str; 6] = [
    "alternatives",
    "crypto-policies",
    "fonts",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "ssl/certs",
];
/// Begins of the names of further such folders.
const FAMILIES: [&str; 1] = ["java-"];

/// The most that is copied, in files and in bytes of each.
const MOST_ENTRIES: usize = 10_000;
const MOST_BYTES: u64 = 4 << 20;

/// Name of what takes another's place in a moment.
const NEW: &str = ".new";

/// The entries that are to be in it, by their paths there.
#[derive(Debug, Default)]
pub struct Found(BTreeMap<PathBuf, Entry>);

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Folder,
    File(Vec<u8>),
    Link(PathBuf),
}

/// The host's files that are to be in it, and those that are made up.
pub fn of_host() -> io::Result<Found> {
    let mut found = Found::default();
    for (name, content) in MADE {
        found.add(name.as_ref(), Entry::File(content.into()));
    }
    found.add("mtab".as_ref(), Entry::Link("/proc/self/mounts".into()));
    let host = Path::new("/etc");
    for name in FILES {
        found.file(&host.join(name), name.as_ref());
    }
    for name in FOLDERS {
        found.folder(&host.join(name), name.as_ref());
    }
    for entry in fs::read_dir(host)?.flatten() {
        let name = entry.file_name();
        if FAMILIES.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            found.folder(&entry.path(), name.as_ref());
        }
    }
    Ok(found)
}

impl Found {
    fn add(&mut self, place: &Path, entry: Entry) {
        for folder in place.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            self.0.entry(folder.to_owned()).or_insert(Entry::Folder);
        }
        self.0.insert(place.to_owned(), entry);
    }

    /// Adds what everybody may read; of what lies in the system, which sandboxes see, a link to it. There may
    /// be nothing.
    fn file(&mut self, from: &Path, place: &Path) {
        let Ok(real) = fs::canonicalize(from) else { return };
        let Ok(metadata) = fs::metadata(&real) else { return };
        if !metadata.is_file() || metadata.mode() & 0o004 == 0 || metadata.len() > MOST_BYTES {
            return;
        }
        if SYSTEM.iter().any(|folder| real.starts_with(Path::new("/").join(folder))) {
            self.add(place, Entry::Link(real));
        } else if let Ok(content) = fs::read(&real) {
            self.add(place, Entry::File(content));
        }
    }

    /// Adds a folder with the files and links in it that everybody may read.
    fn folder(&mut self, from: &Path, place: &Path) {
        let Ok(entries) = fs::read_dir(from) else { return };
        if fs::metadata(from).map_or(true, |metadata| metadata.mode() & 0o005 != 0o005) {
            return;
        }
        self.add(place, Entry::Folder);
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let (from, place) = (entry.path(), place.join(entry.file_name()));
            if self.0.len() >= MOST_ENTRIES {
                break;
            } else if kind.is_dir() {
                self.folder(&from, &place);
            } else if kind.is_file() {
                self.file(&from, &place);
            } else if kind.is_symlink()
                && let Ok(target) = fs::read_link(&from)
            {
                self.add(&place, Entry::Link(target));
            }
        }
    }
}

/// Makes `etc` what was found. What is there already, and the same, is left alone; nothing is seen half made.
pub fn update(etc: &Path, found: Found) -> io::Result<()> {
    create_folder(etc)?;
    remove_others(etc, Path::new(""), &found)?;
    for (place, entry) in found.0 {
        let place = etc.join(place);
        if present(&place).is_some_and(|present| present == entry) {
            continue;
        }
        let new = place.with_file_name(NEW);
        match entry {
            Entry::Folder => {
                create_folder(&place)?;
                continue;
            }
            Entry::File(content) => write_file(&new, &content)?,
            Entry::Link(target) => symlink(target, &new)?,
        }
        fs::rename(&new, &place)?;
    }
    Ok(())
}

/// The entry for what is at a place, if it is of a kind that copies have.
fn present(place: &Path) -> Option<Entry> {
    let kind = fs::symlink_metadata(place).ok()?.file_type();
    if kind.is_dir() {
        Some(Entry::Folder)
    } else if kind.is_symlink() {
        fs::read_link(place).ok().map(Entry::Link)
    } else {
        fs::read(place).ok().map(Entry::File)
    }
}

/// Removes what was not found, or was a folder and is none, or the other way, from the folder `within` of `etc`.
fn remove_others(etc: &Path, within: &Path, found: &Found) -> io::Result<()> {
    for entry in fs::read_dir(etc.join(within))? {
        let entry = entry?;
        let place = within.join(entry.file_name());
        let was_folder = entry.file_type()?.is_dir();
        let is_folder = found.0.get(&place).map(|entry| *entry == Entry::Folder);
        match (was_folder, is_folder) {
            (true, Some(true)) => remove_others(etc, &place, found)?,
            (true, _) => fs::remove_dir_all(entry.path())?,
            (false, Some(false)) => {}
            (false, _) => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_not_everybody_may_read_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for (name, mode) in [("open", 0o755), ("closed", 0o700)] {
            fs::create_dir_all(from.join(name)).unwrap();
            fs::write(from.join(name).join("public"), "public").unwrap();
            fs::write(from.join(name).join("secret"), "secret").unwrap();
            symlink("secret", from.join(name).join("link")).unwrap();
            let secret = from.join(name).join("secret");
            fs::set_permissions(secret, fs::Permissions::from_mode(0o600)).unwrap();
            fs::set_permissions(from.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut found = Found::default();
        found.folder(&from, Path::new("found"));
        update(&to, found).unwrap();
        let to = to.join("found");
        assert_eq!(fs::read_to_string(to.join("open/public")).unwrap(), "public");
        assert_eq!(fs::read_link(to.join("open/link")).unwrap(), Path::new("secret"));
        assert!(!to.join("open/secret").exists() && !to.join("closed").exists());
    }

    #[test]
    fn what_has_changed_is_brought_up_to_date_and_what_has_not_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir(&from).unwrap();
        let updated = || {
            let mut found = Found::default();
            found.folder(&from, Path::new("found"));
            update(&to, found).unwrap();
            let names =
                fs::read_dir(to.join("found")).unwrap().map(|entry| entry.unwrap().file_name());
            names.map(|name| name.into_string().unwrap()).collect::<std::collections::BTreeSet<_>>()
        };
        let inode = |name: &str| fs::symlink_metadata(to.join("found").join(name)).unwrap().ino();
        for name in ["same", "changed", "removed"] {
            fs::write(from.join(name), name).unwrap();
        }
        fs::create_dir(from.join("was")).unwrap();
        fs::write(from.join("was/file"), "").unwrap();
        symlink("same", from.join("link")).unwrap();
        let all = ["changed", "link", "removed", "same", "was"].map(str::to_owned).into();
        assert_eq!(updated(), all);
        let same = ["same", "link"].map(inode);
        fs::write(from.join("changed"), "anew").unwrap();
        fs::remove_file(from.join("removed")).unwrap();
        fs::remove_dir_all(from.join("was")).unwrap();
        fs::write(from.join("was"), "a file").unwrap();
        let left = ["changed", "link", "same", "was"].map(str::to_owned).into();
        assert_eq!(updated(), left);
        assert_eq!(["same", "link"].map(inode), same);
        let content = |name: &str| fs::read_to_string(to.join("found").join(name)).unwrap();
        assert_eq!([content("changed"), content("was")], ["anew", "a file"]);
    }
}
