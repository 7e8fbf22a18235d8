//! Numbers of requests and events. No other request or event has the same, in any run of a supervisor.

use std::sync::atomic::{AtomicU64, Ordering};

/// Source of numbers: UUIDs of version 8, random once per run and counted within it, so that a request
/// needs no random bytes.
#[derive(Debug)]
pub struct RequestIds {
    run: u128,
    next: AtomicU64,
}

impl RequestIds {
    /// The numbers of one run.
    pub fn new() -> Self {
        Self { run: fastrand::u128(..), next: AtomicU64::new(0) }
    }

    /// The next number.
    pub fn draw(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let bits = (self.run & !0xffff_ffff_ffff) | u128::from(number & 0xffff_ffff_ffff);
        let bits = bits & !(0xf << 76) & !(0b11 << 62) | (8 << 76) | (0b10 << 62);
        let part = |from: u32, digits: u32| (bits >> (4 * from)) & ((1 << (4 * digits)) - 1);
        let (time, middle, version) = (part(24, 8), part(20, 4), part(16, 4));
        let (variant, node) = (part(12, 4), part(0, 12));
        format!("{time:08x}-{middle:04x}-{version:04x}-{variant:04x}-{node:012x}")
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_uuid_of_its_own() {
        let ids = RequestIds::new();
        let (first, second) = (ids.draw(), ids.draw());
        assert_ne!(first, second);
        assert_ne!(RequestIds::new().draw(), first);
        let parts: Vec<_> = first.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&first[14..15], "8");
        assert!(matches!(&first[19..20], "8" | "9" | "a" | "b"), "{first}");
        assert_eq!((&first[24..], &second[24..]), ("000000000000", "000000000001"));
    }
}
