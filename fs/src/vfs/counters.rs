//! Requests by operation: how one knows that a warm import sends none.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Operation that the kernel can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Lookup,
    Getattr,
    Open,
    Opendir,
    Read,
    Readdir,
    Readlink,
    Statfs,
    Ioctl,
    Xattr,
    Flush,
    /// Not a request: a handler that has panicked.
    Panic,
    /// Not a request: bytes that reads were answered with.
    ReadBytes,
}

/// Every operation and its name.
const NAMES: [(Operation, &str); 13] = [
    (Operation::Lookup, "lookup"),
    (Operation::Getattr, "getattr"),
    (Operation::Open, "open"),
    (Operation::Opendir, "opendir"),
    (Operation::Read, "read"),
    (Operation::Readdir, "readdir"),
    (Operation::Readlink, "readlink"),
    (Operation::Statfs, "statfs"),
    (Operation::Ioctl, "ioctl"),
    (Operation::Xattr, "xattr"),
    (Operation::Flush, "flush"),
    (Operation::Panic, "panic"),
    (Operation::ReadBytes, "read-bytes"),
];

/// Counts of operations that were asked for.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    /// Counts one.
    pub fn count(&self, operation: Operation) {
        self.add(operation, 1);
    }

    /// Counts several at once.
    pub fn add(&self, operation: Operation, times: u64) {
        self.0[operation as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// All counts by name.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let count = |operation| self.0[operation as usize].load(Ordering::Relaxed);
        NAMES.iter().map(|(operation, name)| ((*name).to_owned(), count(*operation))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_its_own_place() {
        for (place, (operation, _)) in NAMES.iter().enumerate() {
            assert_eq!(*operation as usize, place);
        }
    }
}
