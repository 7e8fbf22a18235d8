//! A slower disk: the kernel bounds the reads of the processes in a control group.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use crate::Failure;

/// A control group with bounded reads, which holds this process and the processes that it starts.
/// Dropping it moves this process out and removes the group.
#[derive(Debug)]
pub struct Throttle {
    root: PathBuf,
    group: PathBuf,
}

impl Throttle {
    /// Bounds reads from the disk that `folder` is on, to so many bytes and reads a second.
    pub fn new(folder: &Path, bytes: u64, reads: u64) -> Result<Self, Failure> {
        let disk = disk_of(folder)?;
        let (root, settings) = hierarchy(&disk, bytes, reads)?;
        let group = root.join(format!("pipsqueak-bench-{}", std::process::id()));
        fs::create_dir(&group)?;
        let throttle = Self { root, group };
        for (file, text) in settings {
            fs::write(throttle.group.join(file), text)?;
        }
        throttle.add(std::process::id())?;
        Ok(throttle)
    }

    /// Bounds another process too.
    pub fn add(&self, process: u32) -> Result<(), Failure> {
        Ok(fs::write(self.group.join("cgroup.procs"), process.to_string())?)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let processes = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines() {
            // One that has ended meanwhile is out of it too.
            let _ = fs::write(self.root.join("cgroup.procs"), process);
        }
        if let Err(error) = fs::remove_dir(&self.group) {
            eprintln!("bench: {}: {error}", self.group.display());
        }
    }
}

/// `major:minor` of the disk that holds a folder; that of the whole disk for a partition.
fn disk_of(folder: &Path) -> Result<String, Failure> {
    let device = fs::metadata(folder)?.dev();
    let of_device = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let described = fs::canonicalize(of_device)?;
    let of_disk = if described.join("partition").exists() {
        described.parent().ok_or("a partition of no disk")?.join("dev")
    } else {
        described.join("dev")
    };
    Ok(fs::read_to_string(of_disk)?.trim().to_owned())
}

type Setting = (&'static str, String);

/// The hierarchy that bounds reads, and the settings to write in a group of it.
fn hierarchy(disk: &str, bytes: u64, reads: u64) -> Result<(PathBuf, Vec<Setting>), Failure> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let find = |kind: &str, option: &str| {
        mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find_map(|fields| {
            let [_, place, found, options, ..] = fields[..] else { return None };
            let fits =
                found == kind && options.split(',').any(|o| option.is_empty() || o == option);
            fits.then(|| PathBuf::from(place))
        })
    };
    if let Some(root) = find("cgroup", "blkio") {
        let settings = vec![
            ("blkio.throttle.read_bps_device", format!("{disk} {bytes}")),
            ("blkio.throttle.read_iops_device", format!("{disk} {reads}")),
        ];
        return Ok((root, settings));
    }
    let root = find("cgroup2", "").ok_or("no control groups are mounted")?;
    fs::write(root.join("cgroup.subtree_control"), "+io").map_err(|error: io::Error| {
        format!("{}: the io controller cannot be used: {error}", root.display())
    })?;
    Ok((root, vec![("io.max", format!("{disk} rbps={bytes} riops={reads}"))]))
}
