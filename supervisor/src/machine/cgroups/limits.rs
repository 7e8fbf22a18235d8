//! Limits of a group, and the files by which each layout is told them.

use std::io;
use std::path::PathBuf;

use crate::machine::files::write;
use crate::machine::pressure;

/// The weight of a function's processor time against other groups', in hundredths: the kernel's own
/// default.
const FULL_WEIGHT: u32 = 100;
/// The weight of v1 of a group that has [`FULL_WEIGHT`].
const FULL_SHARES: u32 = 1024;
/// The time that a quota of processor time is for, in microseconds: the kernel's own default.
const PERIOD_US: u32 = 100_000;

/// The part of a group's memory that buffers of TCP may take where they are counted apart, as one of so many.
const SOCKETS_PART: u64 = 4;

/// Limits of a group. A resource without one is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Processor time, in thousandths of one processor; at least 10, which is the kernel's least.
    pub cpu_millis: Option<u32>,
    /// Part of the processors that it has if others want them too, in hundredths of a function's part.
    pub cpu_weight: u32,
}

impl Limits {
    /// No limits, as a new group has none.
    pub const NONE: Self =
        Self { memory: None, pids: None, cpu_millis: None, cpu_weight: FULL_WEIGHT };

    /// No limits, but half of a function's part of the processors: for jobs that nobody waits for as for a function.
    pub const BACKGROUND: Self = Self { cpu_weight: FULL_WEIGHT / 2, ..Self::NONE };

    /// Memory of what nobody has given a limit, in bytes: half of the machine's. So what goes wrong in an import or
    /// a build ends there.
    pub fn most() -> Option<u64> {
        pressure::machine().ok().map(|machine| machine.size / 2)
    }

    /// These limits, with one of so many equal parts of a function's processor time.
    #[must_use]
    pub fn shared_among(self, sharers: u32) -> Self {
        Self { cpu_weight: (FULL_WEIGHT / sharers.max(1)).max(1), ..self }
    }
}

/// Paths of a group's controllers, one for each that the machine has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Controllers {
    pub(super) memory: Option<Controller>,
    pub(super) pids: Option<Controller>,
    pub(super) cpu: Option<Controller>,
}

/// A group's folder in the hierarchy that has a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Controller {
    V1(PathBuf),
    V2(PathBuf),
}

impl Controllers {
    /// Writes what `wanted` has other than `before`.
    pub(super) fn limit(&self, wanted: &Limits, before: &Limits) -> io::Result<()> {
        if wanted.memory != before.memory
            && let Some(controller) = &self.memory
        {
            controller.limit_memory(wanted.memory)?;
        }
        if wanted.pids != before.pids
            && let Some(Controller::V1(path) | Controller::V2(path)) = &self.pids
        {
            write(&path.join("pids.max"), &or_max(wanted.pids, "max"))?;
        }
        if let Some(controller) = &self.cpu {
            if wanted.cpu_millis != before.cpu_millis {
                controller.limit_cpu(wanted.cpu_millis)?;
            }
            if wanted.cpu_weight != before.cpu_weight {
                controller.weigh_cpu(wanted.cpu_weight)?;
            }
        }
        Ok(())
    }
}

impl Controller {
    fn limit_memory(&self, bytes: Option<u64>) -> io::Result<()> {
        match self {
            Self::V1(path) => {
                write(&path.join("memory.limit_in_bytes"), &or_max(bytes, "-1"))?;
                // Which v1 does not count with the rest.
                let sockets = path.join("memory.kmem.tcp.limit_in_bytes");
                let most = bytes.map(|bytes| bytes / SOCKETS_PART);
                if sockets.exists() { write(&sockets, &or_max(most, "-1")) } else { Ok(()) }
            }
            Self::V2(path) => {
                write(&path.join("memory.max"), &or_max(bytes, "max"))?;
                // A kernel without swap does not have the file.
                let swap = path.join("memory.swap.max");
                let most = bytes.map_or("max", |_| "0");
                if swap.exists() { write(&swap, most) } else { Ok(()) }
            }
        }
    }

    fn limit_cpu(&self, millis: Option<u32>) -> io::Result<()> {
        let quota = millis.map(|millis| u64::from(millis) * u64::from(PERIOD_US) / 1000);
        match self {
            Self::V1(path) => {
                write(&path.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
                write(&path.join("cpu.cfs_quota_us"), &or_max(quota, "-1"))
            }
            Self::V2(path) => {
                let quota = or_max(quota, "max");
                write(&path.join("cpu.max"), &format!("{quota} {PERIOD_US}"))
            }
        }
    }

    fn weigh_cpu(&self, weight: u32) -> io::Result<()> {
        match self {
            Self::V1(path) => {
                let shares = weight * FULL_SHARES / FULL_WEIGHT;
                write(&path.join("cpu.shares"), &shares.to_string())
            }
            Self::V2(path) => write(&path.join("cpu.weight"), &weight.to_string()),
        }
    }
}

fn or_max<T: ToString>(limit: Option<T>, none: &str) -> String {
    limit.map_or_else(|| none.to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_layout_is_told_in_its_words_and_only_what_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        let limits = Limits {
            memory: Some(1 << 20),
            pids: Some(7),
            cpu_millis: Some(250),
            cpu_weight: FULL_WEIGHT / 2,
        };
        let v2 = || Some(Controller::V2(path.clone()));
        let of_v2 = Controllers { memory: v2(), pids: v2(), cpu: v2() };
        of_v2.limit(&limits, &Limits::NONE).unwrap();
        assert_eq!([read("memory.max"), read("pids.max")], ["1048576", "7"]);
        assert_eq!([read("cpu.max"), read("cpu.weight")], ["25000 100000", "50"]);
        of_v2.limit(&Limits::NONE, &limits).unwrap();
        assert_eq!([read("memory.max"), read("pids.max")], ["max", "max"]);
        assert_eq!([read("cpu.max"), read("cpu.weight")], ["max 100000", "100"]);

        let v1 = || Some(Controller::V1(path.clone()));
        let of_v1 = Controllers { memory: v1(), pids: v1(), cpu: v1() };
        of_v1.limit(&limits, &Limits::NONE).unwrap();
        assert_eq!([read("memory.limit_in_bytes"), read("pids.max")], ["1048576", "7"]);
        assert_eq!([read("cpu.cfs_quota_us"), read("cpu.shares")], ["25000", "512"]);
        fs::remove_file(path.join("pids.max")).unwrap();
        of_v1.limit(&limits.shared_among(8), &limits).unwrap();
        assert_eq!(read("cpu.shares"), "122");
        assert_eq!(Limits::NONE.shared_among(1), Limits::NONE);
        of_v1.limit(&Limits { memory: None, ..limits }, &limits).unwrap();
        assert_eq!(read("memory.limit_in_bytes"), "-1");
        assert!(!path.join("pids.max").exists());
    }
}
