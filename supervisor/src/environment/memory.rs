//! A file system in memory for wheels while they are unpacked. No list of mounts shows it, and it is
//! gone with the supervisor, even if that is killed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use pipsqueak_kernel::filesystem;
use pipsqueak_kernel::mount::{self as tree, Access};

use crate::machine::pressure;

/// Divisor of the machine's memory that gives the file system's size.
const PARTS: u64 = 4;

/// Root of a new file system in memory, and its size in bytes. Errors before Linux 6.15, where a
/// sandbox cannot see folders of a mount that is attached nowhere. Blocks.
pub fn in_memory() -> io::Result<(OwnedFd, u64)> {
    let size = pressure::machine()?.size / PARTS;
    let root = filesystem::in_memory("pipsqueak", size)?;
    // Tries what each job needs: to be given a folder in it.
    tree::take(&PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd())), Access::ReadOnly)?;
    Ok((root, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    /// True on Linux 6.15 and later.
    fn is_new_enough() -> bool {
        let told = nix::sys::utsname::uname().unwrap();
        let release = told.release().to_string_lossy();
        let numbers = release.split(['.', '-']).map_while(|part| part.parse().ok());
        numbers.take(2).collect::<Vec<u32>>() >= vec![6, 15]
    }

    #[test]
    fn files_in_memory_are_linked_and_shown_elsewhere() {
        let (root, size) = match in_memory() {
            Ok(made) => made,
            Err(error) => return assert!(!is_new_enough(), "{error}"),
        };
        let folder = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        fs::create_dir(folder.join("a")).unwrap();
        fs::write(folder.join("a/b"), "content").unwrap();
        fs::hard_link(folder.join("a/b"), folder.join("c")).unwrap();
        let place = tempfile::tempdir().unwrap();
        // In another mount namespace, like the one in which sandboxes are made.
        tree::elsewhere(|| {
            tree::own_namespace()?;
            let shown = tree::take(&folder.join("a"), Access::ReadOnly)?;
            tree::attach(shown.as_fd(), place.path())?;
            assert_eq!(fs::read(place.path().join("b"))?, b"content");
            assert!(fs::write(place.path().join("d"), "").is_err() && size > 0);
            Ok(())
        })
        .unwrap();
        let device = fs::metadata(&folder).unwrap().dev();
        let device =
            format!(" {}:{} ", nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.lines().any(|line| line.contains(&device)));
    }
}
