//! Connections and mounts as the kernel says them, without asking whoever serves them: nobody
//! may.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;

use super::mountinfo;

/// The type that lists of mounts show.
pub const FILE_SYSTEM: &str = "fuse.pipsqueak";

/// Mount that was made last at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// The file system's device, `major:minor`: no other has it while this one lives.
    pub device: String,
    /// True if it is of this program.
    pub is_ours: bool,
}

/// Finds what is mounted last at `path`, in this mount namespace; `None` if nothing is.
pub fn top(path: &Path) -> io::Result<Option<Top>> {
    Ok(last_at(&fs::read("/proc/self/mountinfo")?, path))
}

fn last_at(mountinfo: &[u8], path: &Path) -> Option<Top> {
    let last = mountinfo::parse(mountinfo).into_iter().rfind(|mount| mount.point == path)?;
    Some(Top { device: last.device, is_ours: last.kind == FILE_SYSTEM })
}

/// True if this is an open `/dev/fuse`.
pub fn is_connection(descriptor: &OwnedFd) -> io::Result<bool> {
    Ok(fstat(descriptor)?.st_rdev == fs::metadata("/dev/fuse")?.rdev())
}

/// True if the mount of a connection is gone, wherever it was, or was never made.
pub fn has_ended(connection: &OwnedFd) -> io::Result<bool> {
    let mut asked = [PollFd::new(connection.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO)?;
    Ok(asked[0].revents().is_none_or(|said| said.contains(PollFlags::POLLERR)))
}

/// The device of the file system that a connection is of, as [`Top`] has it; `None` if the kernel does
/// not say (before Linux 6.17).
pub fn device(connection: &OwnedFd) -> io::Result<Option<String>> {
    Ok(told_device(&fs::read_to_string(format!("/proc/self/fdinfo/{}", connection.as_raw_fd()))?))
}

fn told_device(fdinfo: &str) -> Option<String> {
    let told = fdinfo.lines().find_map(|line| line.strip_prefix("fuse_connection:"))?;
    // The kernel's own encoding: 20 bits are the minor number.
    let number: u32 = told.trim().parse().ok()?;
    Some(format!("{}:{}", number >> 20, number & 0xf_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_at_a_path_counts() {
        let lines = "44 27 0:44 / /p\\040q ro - fuse.pipsqueak pipsqueak ro\n\
                     45 27 0:45 / /p\\040q/below ro shared:3 - fuse.pipsqueak pipsqueak ro\n\
                     46 44 0:46 / /p\\040q rw,relatime shared:1 master:2 - tmpfs none rw\n";
        let top = last_at(lines.as_bytes(), Path::new("/p q")).unwrap();
        assert_eq!(top, Top { device: "0:46".to_owned(), is_ours: false });
        let first = lines.lines().next().unwrap();
        let top = last_at(first.as_bytes(), Path::new("/p q")).unwrap();
        assert_eq!(top, Top { device: "0:44".to_owned(), is_ours: true });
        assert_eq!(last_at(lines.as_bytes(), Path::new("/p")), None);
    }

    #[test]
    fn what_the_kernel_tells_of_a_descriptor_is_read() {
        let text = "pos:\t0\nflags:\t02100002\nmnt_id:\t24\nino:\t90\nfuse_connection:\t44\n";
        assert_eq!(told_device(text).as_deref(), Some("0:44"));
        assert_eq!(told_device("fuse_connection:\t1048579\n").as_deref(), Some("1:3"));
        assert_eq!(told_device("pos:\t0\n"), None);
    }

    #[test]
    fn what_was_never_mounted_counts_as_ended() {
        let Ok(device) = fs::File::options().read(true).write(true).open("/dev/fuse") else {
            return;
        };
        let device = OwnedFd::from(device);
        assert!(is_connection(&device).unwrap() && has_ended(&device).unwrap());
        let other = OwnedFd::from(fs::File::open("/dev/null").unwrap());
        assert!(!is_connection(&other).unwrap());
    }
}
