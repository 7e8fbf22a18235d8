//! Addresses of an instance, and those that are given out.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

pub use pipsqueak::settings::Range;

use super::link;

/// Pool of the instances that are told no range: addresses set aside for tests of
/// network devices (RFC 2544), so no network that a function would want to reach has them.
const POOL: Range = Range::new(Ipv4Addr::new(198, 18, 0, 0), 15);
/// The size of what they take: 4,093 sandboxes.
const TAKEN_PREFIX: u8 = 20;
/// Offset of the first address that a sandbox gets.
const FIRST_GIVEN: u32 = 2;

/// Why no part of the pool is an instance's.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// `RTM_GETROUTE`.
    #[error("listing routes: {0}")]
    Routes(#[source] io::Error),
    /// Every part is in use.
    #[error("routes lead to every part of {POOL}: name a range of addresses with --nat")]
    Full,
}

/// The first part of the pool that no route leads to.
pub fn choose() -> Result<Range, RangeError> {
    let routed: Vec<_> = link::routed()
        .map_err(RangeError::Routes)?
        .into_iter()
        .map(|(first, prefix)| Range::new(first, prefix))
        .collect();
    let step = 1 << (32 - u32::from(TAKEN_PREFIX));
    let parts = (0..=POOL.last_offset()).step_by(step);
    let mut parts = parts.map(|offset| Range::new(POOL.address(offset), TAKEN_PREFIX));
    parts.find(|part| !routed.iter().any(|taken| taken.overlaps(*part))).ok_or(RangeError::Full)
}

/// The addresses of a range, given out in turn: one is used again as late as can be, when nothing
/// remembers its last owner.
#[derive(Debug)]
pub struct Addresses {
    range: Range,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: BTreeSet<u32>,
    last: u32,
}

impl Addresses {
    /// All of a range.
    pub fn of(range: Range) -> Arc<Self> {
        Arc::new(Self { range, state: Mutex::default() })
    }

    /// Takes an address that is not in use.
    pub fn take(self: &Arc<Self>) -> Option<Taken> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let end = self.range.last_offset();
        let begin = (state.last + 1).max(FIRST_GIVEN);
        let mut offsets = (begin..end).chain(FIRST_GIVEN..begin.min(end));
        let offset = offsets.find(|offset| !state.taken.contains(offset))?;
        state.taken.insert(offset);
        state.last = offset;
        Some(Taken { offset, addresses: self.clone() })
    }
}

/// An address in use; free again when dropped.
#[derive(Debug)]
pub struct Taken {
    offset: u32,
    addresses: Arc<Addresses>,
}

impl Taken {
    /// Place of the address in its range.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// The address.
    pub fn address(&self) -> Ipv4Addr {
        self.addresses.range.address(self.offset)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut state = self.addresses.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken.remove(&self.offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_in_turn_and_once_at_a_time() {
        let addresses = Addresses::of("10.0.0.0/29".parse().unwrap());
        let mut taken: Vec<_> = std::iter::from_fn(|| addresses.take()).collect();
        let last: Vec<_> = taken.iter().map(|taken| taken.address().octets()[3]).collect();
        assert_eq!(last, [2, 3, 4, 5, 6]);
        drop(taken.drain(..2));
        let again = addresses.take().unwrap();
        assert_eq!(again.offset(), 2);
        drop(again);
        assert_eq!(addresses.take().unwrap().offset(), 3);
    }
}
