//! The places an instance uses: its state's disk, its mount, its socket.

use std::fs;
use std::io;
use std::path::Path;

use nix::sys::statfs::{self, FsType, statfs};
use pipsqueak::client::{Client, ClientError, socket_path};
use pipsqueak::settings::Settings;
use pipsqueak::size;

use super::finding::Finding;

/// Less than this does not hold a handful of environments.
const FEW_BYTES: u64 = 2 << 30;

/// File systems that people keep state on, and the trouble with some of them.
const FILE_SYSTEMS: [(FsType, &str, Option<&str>); 7] = [
    (statfs::EXT4_SUPER_MAGIC, "ext4", None),
    (statfs::XFS_SUPER_MAGIC, "xfs", None),
    (statfs::BTRFS_SUPER_MAGIC, "btrfs", None),
    (statfs::OVERLAYFS_SUPER_MAGIC, "overlayfs", Some("it goes with its container")),
    (statfs::TMPFS_MAGIC, "tmpfs", Some("it is memory, and gone after a reboot")),
    (statfs::NFS_SUPER_MAGIC, "nfs", Some("SQLite cannot rely on its locks")),
    (statfs::FUSE_SUPER_MAGIC, "fuse", Some("its durability is unknown")),
];

pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let connected = Client::connect(&settings.run);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    vec![
        disk(&settings.state),
        mount(
            &settings.mount,
            is_mounted(&mounts, &settings.mount),
            fs::metadata(&settings.mount).map(|_| ()),
            connected.is_ok(),
        ),
        supervisor(&settings.run, connected.map(|client| client.peer_pid())),
    ]
}

fn disk(state: &Path) -> Finding {
    // The folder is made by the first start; its disk is there already.
    let place = state.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match statfs(place) {
        Ok(stat) => {
            // The kernel counts in blocks of this size, which is positive.
            let block = u64::try_from(stat.block_size()).unwrap_or(0);
            let free = stat.blocks_available().saturating_mul(block);
            judge_disk(place, stat.filesystem_type(), free)
        }
        Err(error) => {
            let advice = "name another place with --state";
            Finding::missing("state", format!("{}: {error}", place.display()), advice)
        }
    }
}

fn judge_disk(place: &Path, kind: FsType, free: u64) -> Finding {
    const CHECK: &str = "state";
    let known = FILE_SYSTEMS.iter().find(|(magic, ..)| *magic == kind);
    let (name, trouble) = known.map_or(("another file system", None), |(_, name, t)| (*name, *t));
    let found = format!("{} free on {name} at {}", size::format(free), place.display());
    if let Some(trouble) = trouble {
        let advice = "name a place on a local disk with --state";
        return Finding::warning(CHECK, format!("{found}: {trouble}"), advice);
    }
    if free < FEW_BYTES {
        return Finding::warning(
            CHECK,
            found,
            "free some space, or name another place with --state",
        );
    }
    Finding::ok(CHECK, found)
}

/// True if something is mounted at `path`, by the text of `/proc/self/mountinfo`.
fn is_mounted(mounts: &str, path: &Path) -> bool {
    let escaped = path.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040");
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(&escaped))
}

fn mount(path: &Path, is_mounted: bool, looked_at: io::Result<()>, is_served: bool) -> Finding {
    const CHECK: &str = "mount";
    let name = path.display();
    match looked_at {
        // ENOTCONN: the mount is there, the process behind it is not.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Finding::warning(
            CHECK,
            format!("{name} is a mount that nobody serves"),
            format!("umount -l {name}"),
        ),
        _ if is_mounted && !is_served => Finding::warning(
            CHECK,
            format!("something is mounted at {name}, and no supervisor answers"),
            format!("umount {name}, or name another place with --mount"),
        ),
        _ if is_mounted => Finding::ok(CHECK, format!("{name} is mounted")),
        _ => Finding::ok(CHECK, format!("{name} is free")),
    }
}

fn supervisor(run: &Path, connected: Result<Option<u32>, ClientError>) -> Finding {
    const CHECK: &str = "supervisor";
    match connected {
        Ok(Some(pid)) => Finding::ok(CHECK, format!("process {pid} answers")),
        Ok(None) => Finding::ok(CHECK, "one answers"),
        Err(ClientError::NoSupervisor { socket }) if socket.exists() => Finding::warning(
            CHECK,
            format!("{} is what a killed one has left", socket.display()),
            "start one (pipsqueak up); it clears that",
        ),
        Err(ClientError::NoSupervisor { .. }) => {
            Finding::ok(CHECK, format!("none at {}", socket_path(run).display()))
        }
        Err(error) => Finding::warning(
            CHECK,
            error.to_string(),
            "name another place with --run, or run as root",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_disk_is_judged_by_its_kind_and_room() {
        let place = Path::new("/s");
        let room = FEW_BYTES;
        assert_eq!(judge_disk(place, statfs::EXT4_SUPER_MAGIC, room).verdict, Verdict::Ok);
        assert_eq!(judge_disk(place, statfs::EXT4_SUPER_MAGIC, room - 1).verdict, Verdict::Warning);
        let memory = judge_disk(place, statfs::TMPFS_MAGIC, room);
        assert_eq!(memory.verdict, Verdict::Warning);
        assert!(memory.found.starts_with("2.0 GiB free on tmpfs at /s: it is memory"));
        assert_eq!(judge_disk(place, statfs::PROC_SUPER_MAGIC, room).verdict, Verdict::Ok);
        assert_ne!(disk(Path::new("/nowhere/yet")).verdict, Verdict::Missing);
    }

    #[test]
    fn mounts_are_found_by_their_exact_path() {
        let mounts = "22 1 0:20 / /pipsqueak/packages ro - fuse pipsqueak ro\n\
                      23 1 0:21 / /with\\040space ro - fuse pipsqueak ro\n";
        assert!(is_mounted(mounts, Path::new("/pipsqueak/packages")));
        assert!(is_mounted(mounts, Path::new("/with space")));
        assert!(!is_mounted(mounts, Path::new("/pipsqueak")));
    }

    #[test]
    fn a_mount_without_its_server_is_told() {
        let path = Path::new("/m");
        let gone = || Err(io::ErrorKind::NotConnected.into());
        assert_eq!(mount(path, true, gone(), false).advice.as_deref(), Some("umount -l /m"));
        assert_eq!(mount(path, true, Ok(()), false).verdict, Verdict::Warning);
        assert_eq!(mount(path, true, Ok(()), true).verdict, Verdict::Ok);
        let absent = Err(io::ErrorKind::NotFound.into());
        assert_eq!(mount(path, false, absent, false).found, "/m is free");
    }

    #[test]
    fn no_supervisor_is_fine_and_what_a_killed_one_left_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let none = supervisor(folder.path(), Client::connect(folder.path()).map(|_| None));
        assert_eq!(none.verdict, Verdict::Ok);
        drop(std::os::unix::net::UnixListener::bind(socket_path(folder.path())).unwrap());
        let stale = supervisor(folder.path(), Client::connect(folder.path()).map(|_| None));
        assert_eq!(stale.verdict, Verdict::Warning);
        assert_eq!(supervisor(folder.path(), Ok(Some(7))).found, "process 7 answers");
    }
}
