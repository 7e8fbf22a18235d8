//! `favordynmods`: quick moves of processes between control groups.
//!
//! Each move waits for an RCU grace period (10 to 20 ms where nothing was moved for a while) unless
//! the cgroup2 hierarchy is mounted with this option, which makes forks and exits a little dearer
//! instead (Linux 6.0, Documentation/admin-guide/cgroup-v2.rst). A start moves two processes.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

const OPTION: &str = "favordynmods";

/// Options of any mount, which are flags to mount(2) and no text.
const FLAGS: [(&str, MsFlags); 7] = [
    ("ro", MsFlags::MS_RDONLY),
    ("nosuid", MsFlags::MS_NOSUID),
    ("nodev", MsFlags::MS_NODEV),
    ("noexec", MsFlags::MS_NOEXEC),
    ("noatime", MsFlags::MS_NOATIME),
    ("nodiratime", MsFlags::MS_NODIRATIME),
    ("relatime", MsFlags::MS_RELATIME),
];

/// The option, set by us: unset when dropped.
#[derive(Debug)]
pub struct Favored {
    root: PathBuf,
    before: Options,
}

/// Options with which a hierarchy is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    flags: MsFlags,
    own: Vec<String>,
}

impl Options {
    /// Reads the options of the mount at `root` from the text of `/proc/self/mounts`.
    fn parse(mounts: &str, root: &Path) -> Option<Self> {
        let options = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let place = fields.next()?;
            (Path::new(place) == root).then(|| fields.nth(1)).flatten()
        })?;
        let mut parsed = Self { flags: MsFlags::empty(), own: Vec::new() };
        for option in options.split(',').filter(|option| *option != "rw") {
            match FLAGS.iter().find(|(name, _)| *name == option) {
                Some((_, flag)) => parsed.flags |= *flag,
                None => parsed.own.push(option.to_owned()),
            }
        }
        Some(parsed)
    }

    fn apply(&self, root: &Path) -> io::Result<()> {
        let own = self.own.join(",");
        let (flags, none) = (self.flags | MsFlags::MS_REMOUNT, None::<&str>);
        Ok(mount(none, root, none, flags, Some(own.as_str()))?)
    }
}

/// Sets the option on the cgroup2 hierarchy at `root`; `None` if it was set already.
pub fn favor(root: &Path) -> io::Result<Option<Favored>> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let before = Options::parse(&mounts, root)
        .ok_or_else(|| io::Error::other(format!("{} is not mounted", root.display())))?;
    if before.own.iter().any(|option| option == OPTION) {
        return Ok(None);
    }
    let mut favoring = before.clone();
    favoring.own.push(OPTION.to_owned());
    favoring.apply(root)?;
    Ok(Some(Favored { root: root.to_owned(), before }))
}

impl Drop for Favored {
    fn drop(&mut self) {
        if let Err(error) = self.before.apply(&self.root) {
            tracing::warn!(root = %self.root.display(), %error, "unsetting {OPTION}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_hierarchy_are_kept() {
        let mounts = "proc /proc proc rw 0 0\n\
            cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate,memory_recursiveprot 0 0\n";
        let options = Options::parse(mounts, Path::new("/sys/fs/cgroup")).unwrap();
        assert_eq!(options.own, ["nsdelegate", "memory_recursiveprot"]);
        let expected = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        assert_eq!(options.flags, expected | MsFlags::MS_RELATIME);
        assert_eq!(Options::parse(mounts, Path::new("/elsewhere")), None);
    }
}
