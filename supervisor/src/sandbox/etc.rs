//! `/etc` of every sandbox: what an interpreter and its libraries read there, and nothing secret.
//!
//! It is made once, of copies: each mount in the base is one more to copy for each sandbox.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use pipsqueak_kernel::mount::{self as tree, Access};

use super::base::{SYSTEM, create_folder, write_file};

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
const FOLDERS: [&str; 5] =
    ["alternatives", "crypto-policies", "fonts", "pki/ca-trust/extracted", "pki/tls/certs"];
/// How the names of further such folders begin.
const FAMILIES: [&str; 1] = ["java-"];

/// The most that is copied of folders, in files and in bytes of each.
const MOST_FILES: usize = 10_000;
const MOST_BYTES: u64 = 4 << 20;

/// Makes it.
pub fn fill(etc: &Path) -> io::Result<()> {
    create_folder(&etc.join("ssl/certs"))?;
    for (name, content) in MADE {
        write_file(&etc.join(name), content.as_bytes())?;
    }
    symlink("/proc/self/mounts", etc.join("mtab"))?;
    let host = Path::new("/etc");
    for name in FILES {
        copy_file(&host.join(name), &etc.join(name))?;
    }
    let mut left = MOST_FILES;
    for name in FOLDERS {
        copy_folder(&host.join(name), &etc.join(name), &mut left)?;
    }
    for entry in fs::read_dir(host)?.flatten() {
        let name = entry.file_name();
        if FAMILIES.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            copy_folder(&entry.path(), &etc.join(name), &mut left)?;
        }
    }
    // Renewed while sandboxes run.
    let certificates = host.join("ssl/certs");
    if certificates.is_dir() {
        let taken = tree::take(&certificates, Access::ReadOnly)?;
        tree::attach(taken.as_fd(), &etc.join("ssl/certs"))?;
    }
    Ok(())
}

/// Copies what everybody may read; of what lies in the system, which sandboxes see, a link to it. There may
/// be nothing.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(real) = fs::canonicalize(from) else { return Ok(()) };
    let Ok(metadata) = fs::metadata(&real) else { return Ok(()) };
    if !metadata.is_file() || metadata.mode() & 0o004 == 0 || metadata.len() > MOST_BYTES {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        create_folder(parent)?;
    }
    if SYSTEM.iter().any(|folder| real.starts_with(Path::new("/").join(folder))) {
        return symlink(real, to);
    }
    fs::read(&real).map_or(Ok(()), |content| write_file(to, &content))
}

/// Copies a folder with the files and links in it that everybody may read.
fn copy_folder(from: &Path, to: &Path, left: &mut usize) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    if fs::metadata(from)?.mode() & 0o005 != 0o005 {
        return Ok(());
    }
    create_folder(to)?;
    for entry in entries.flatten() {
        let (kind, from, to) = (entry.file_type()?, entry.path(), to.join(entry.file_name()));
        *left = left.saturating_sub(1);
        if *left == 0 {
            break;
        } else if kind.is_dir() {
            copy_folder(&from, &to, left)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else {
            copy_file(&from, &to)?;
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
        copy_folder(&from, &to, &mut 100).unwrap();
        assert_eq!(fs::read_to_string(to.join("open/public")).unwrap(), "public");
        assert_eq!(fs::read_link(to.join("open/link")).unwrap(), Path::new("secret"));
        assert!(!to.join("open/secret").exists() && !to.join("closed").exists());
        let few = folder.path().join("few");
        copy_folder(&from.join("open"), &few, &mut 2).unwrap();
        assert_eq!(fs::read_dir(few).unwrap().count(), 1);
    }
}
