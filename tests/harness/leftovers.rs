//! Resources that an instance uses, so that a test can check that they are gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::instance::Instance;
use super::{has_ended, patience};

/// An instance's processes, mounts, control groups and namespaces.
///
/// Namespaces are not looked for by themselves, as the kernel reuses their numbers at once. A
/// namespace lives no longer than the processes in it and the mounts and descriptors that pin it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Footprint {
    /// Process numbers.
    pub processes: Vec<i32>,
    /// Places of mounts.
    pub mounts: Vec<PathBuf>,
    /// Control groups.
    pub groups: Vec<PathBuf>,
    /// Namespaces of the instance's processes that are not those of the test.
    pub namespaces: Vec<String>,
    folder: PathBuf,
    name: Option<String>,
}

impl Footprint {
    /// The resources that an instance uses now.
    pub fn of(instance: &Instance) -> Self {
        let name = instance.group().map(ToOwned::to_owned);
        let groups = name.iter().flat_map(|name| {
            let roots = hierarchies().into_iter();
            roots.map(move |root| root.join(name))
        });
        let (folder, groups) = (instance.path().to_owned(), groups.collect());
        Self { groups, folder, name, ..Self::default() }.left()
    }

    /// The resources that an instance of this name and folder uses now.
    fn left(&self) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
        let processes: Vec<_> =
            all_processes().filter(|pid| self.is_ours(*pid) && !has_ended(*pid)).collect();
        let own = namespaces_of(i32::try_from(std::process::id()).unwrap());
        let mut namespaces: Vec<_> = processes.iter().flat_map(|pid| namespaces_of(*pid)).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces.retain(|namespace| !own.contains(namespace));
        Self {
            mounts: places.filter(|place| place.starts_with(&self.folder)).collect(),
            groups: self.groups.iter().filter(|group| group.exists()).cloned().collect(),
            processes,
            namespaces,
            ..self.clone()
        }
    }

    /// True if a process is of this instance: by its command line, or, like interpreters in
    /// sandboxes, only by its control group.
    fn is_ours(&self, pid: i32) -> bool {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let of_name = |name: &String| {
            line.contains(name.as_str()) || groups.split(['/', '\n']).any(|part| part == name)
        };
        line.contains(self.folder.to_str().unwrap()) || self.name.as_ref().is_some_and(of_name)
    }

    fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.mounts.is_empty() && self.groups.is_empty()
    }

    /// Ends and removes the leftovers; returns what they were.
    pub fn clear(&self) -> Self {
        let left = self.left();
        for pid in &left.processes {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        for mount in left.mounts.iter().rev() {
            let _ = umount2(mount, MntFlags::MNT_DETACH);
        }
        let until = Instant::now() + patience(5);
        while left.groups.iter().any(|group| !remove_group(group)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        left
    }

    /// Waits a while until nothing is left; returns whether that came.
    pub fn is_soon_gone(&self) -> bool {
        let until = Instant::now() + patience(10);
        while !self.left().is_empty() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

/// Waits until an instance's resources are all gone.
pub fn wait_until_gone(footprint: &Footprint) {
    assert!(footprint.is_soon_gone(), "left behind: {:?}", footprint.left());
}

/// All processes but process 1 and this one.
fn all_processes() -> impl Iterator<Item = i32> {
    let own = i32::try_from(std::process::id()).unwrap();
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(move |pid| *pid != 1 && *pid != own)
}

/// Roots of the mounted control group hierarchies.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let roots = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        fields.next()?.starts_with("cgroup").then(|| place.into())
    });
    roots.collect()
}

fn namespaces_of(pid: i32) -> Vec<String> {
    let kinds = ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"];
    let links =
        kinds.iter().filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

/// Removes the empty control groups of a name at the root of each hierarchy.
pub fn remove_groups(name: &str) {
    for root in hierarchies() {
        remove_group(&root.join(name));
    }
}

/// Removes a group and the groups in it; returns whether it is gone.
fn remove_group(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}
