//! What an instance uses of the machine, so that a test can see that it is gone.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::eventually;
use super::instance::Instance;

/// Processes, mounts and control groups.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Footprint {
    /// Process numbers.
    pub processes: Vec<i32>,
    /// Where something is mounted.
    pub mounts: Vec<PathBuf>,
    /// Control groups.
    pub groups: Vec<PathBuf>,
    /// Namespaces that processes of it are in and this one is not.
    pub namespaces: Vec<String>,
    folder: PathBuf,
}

impl Footprint {
    /// What an instance uses now.
    pub fn of(instance: &Instance) -> Self {
        let folder = instance.path().to_owned();
        let groups = hierarchies().into_iter().map(|root| root.join(instance.group()));
        let mut footprint = Self { folder, groups: groups.collect(), ..Self::default() };
        footprint.look();
        footprint
    }

    /// Looks anew at what is left.
    fn look(&mut self) {
        let folder = self.folder.to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        self.mounts = places.filter(|place| place.starts_with(&folder)).map(Into::into).collect();
        let mut processes = all_processes();
        processes.retain(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            // Interpreters in sandboxes are known by their groups alone.
            let in_group = self.groups.first().is_some_and(|group| is_in(*pid, group));
            in_group || String::from_utf8_lossy(&line).contains(&folder)
        });
        self.namespaces = processes.iter().flat_map(|pid| namespaces_of(*pid)).collect();
        self.namespaces.sort_unstable();
        self.namespaces.dedup();
        let own = namespaces_of(i32::try_from(std::process::id()).unwrap());
        self.namespaces.retain(|namespace| !own.contains(namespace));
        self.processes = processes;
        self.groups.retain(|group| group.exists());
    }

    fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.mounts.is_empty() && self.groups.is_empty()
    }

    /// Ends and removes what a failed test has left.
    pub fn clear(&self) {
        let mut left = self.clone();
        left.look();
        for pid in &left.processes {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        for mount in left.mounts.iter().rev() {
            let _ = umount2(mount, MntFlags::MNT_DETACH);
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        for group in &left.groups {
            remove_group(group);
        }
    }
}

/// Waits until nothing of what an instance has used is left.
pub fn wait_until_gone(footprint: &Footprint) {
    let mut left = footprint.clone();
    eventually(&format!("{footprint:?} is gone"), || {
        left.look();
        left.is_empty()
    });
}

fn all_processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Where control group hierarchies are mounted.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let roots = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        fields.next()?.starts_with("cgroup").then(|| place.into())
    });
    roots.collect()
}

/// Whether a process is in a group of an instance, in any hierarchy.
fn is_in(pid: i32, group: &Path) -> bool {
    let name = group.file_name().unwrap().to_string_lossy();
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.split(['/', '\n']).any(|part| part == name)
}

fn namespaces_of(pid: i32) -> Vec<String> {
    let kinds = ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"];
    let links =
        kinds.iter().filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
