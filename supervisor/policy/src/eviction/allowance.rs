//! The number of bytes that may be kept.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that all kept items together may have: the budget of the settings, and less while the machine
/// is short of memory.
#[derive(Debug)]
pub struct Allowance {
    most: u64,
    now: AtomicU64,
}

impl Allowance {
    /// Allows a whole budget, in bytes.
    pub fn new(most: u64) -> Self {
        Self { most, now: AtomicU64::new(most) }
    }

    /// The budget, in bytes.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Bytes that may be kept now.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Allows that many bytes, but no more than the budget.
    pub fn set(&self, bytes: u64) {
        self.now.store(bytes.min(self.most), Ordering::Relaxed);
    }
}
