//! Strain: how near an instance is to the limits of memory that somebody has set around it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipsqueak_policy::eviction::Reading;

use super::instance::Instance;
use crate::machine::files::read_number;
use crate::machine::pressure;

/// A limit beyond this is none: v1 writes a number of pages that it cannot count beyond.
const MOST: u64 = 1 << 60;
/// Reading of a group without a limit.
const UNLIMITED: Reading =
    Reading { size: u64::MAX, available: u64::MAX, stalled: Duration::ZERO, met: 0 };

impl Instance {
    /// Readings of the groups around the instance's sandboxes that may have a limit: the instance's own, and the one
    /// that it sees as the root, which in a container is not. They are always in this order. A group without a
    /// limit has more available than any machine.
    pub fn readings(&self) -> Vec<Reading> {
        let read = if self.unified_controllers.contains(&"memory") { v2 } else { v1 };
        self.around().iter().map(|group| read(group)).collect()
    }

    /// The instance's own file of stalls, if the kernel counts them by group.
    pub fn stalls(&self) -> Option<PathBuf> {
        let root = self.layout.unified.as_ref()?;
        let path = root.join(&self.name).join("memory.pressure");
        (self.unified_controllers.contains(&"memory") && path.exists()).then_some(path)
    }

    fn around(&self) -> Vec<PathBuf> {
        let legacy = self.layout.legacy.iter().find(|(name, _)| name == "memory");
        let root = if self.unified_controllers.contains(&"memory") {
            self.layout.unified.as_ref()
        } else {
            legacy.map(|(_, root)| root)
        };
        root.map(|root| vec![root.join(&self.name), root.clone()]).unwrap_or_default()
    }
}

fn v2(group: &Path) -> Reading {
    let limit = limit_of(&group.join("memory.max")).min(limit_of(&group.join("memory.high")));
    if limit > MOST {
        return UNLIMITED;
    }
    let events = fs::read_to_string(group.join("memory.events")).unwrap_or_default();
    let met = number(&events, "high ") + number(&events, "max ");
    let used = read_number(&group.join("memory.current"));
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let available = available(limit, used, number(&stat, "inactive_file "));
    let stalled = pressure::stalled(&group.join("memory.pressure"));
    Reading { size: limit, available, stalled, met }
}

fn v1(group: &Path) -> Reading {
    let limit = limit_of(&group.join("memory.limit_in_bytes"));
    if limit > MOST {
        return UNLIMITED;
    }
    let used = read_number(&group.join("memory.usage_in_bytes"));
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let available = available(limit, used, number(&stat, "total_inactive_file "));
    let met = read_number(&group.join("memory.failcnt"));
    Reading { size: limit, available, met, ..Reading::default() }
}

/// Files that nobody uses make room before anything else does.
fn available(limit: u64, used: u64, reclaimable: u64) -> u64 {
    limit.saturating_sub(used.saturating_sub(reclaimable))
}

/// A limit in bytes; more than there can be if there is none.
fn limit_of(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX)
}

fn number(text: &str, name: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    found.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_either_layout_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path();
        let write = |name: &str, text: &str| fs::write(group.join(name), text).unwrap();
        assert_eq!(v2(group).available, u64::MAX);
        write("memory.max", "1000\n");
        write("memory.high", "max\n");
        write("memory.current", "700\n");
        write("memory.stat", "anon 500\ninactive_file 50\nactive_file 20\n");
        write("memory.events", "low 0\nhigh 2\nmax 3\noom 0\n");
        let expected = Reading { size: 1000, available: 350, met: 5, ..Reading::default() };
        assert_eq!(v2(group), expected);

        assert_eq!(v1(group).available, u64::MAX);
        write("memory.limit_in_bytes", "900\n");
        write("memory.usage_in_bytes", "950\n");
        write("memory.stat", "inactive_file 1\ntotal_inactive_file 100\n");
        write("memory.failcnt", "4\n");
        let expected = Reading { size: 900, available: 50, met: 4, ..Reading::default() };
        assert_eq!(v1(group), expected);
    }
}
