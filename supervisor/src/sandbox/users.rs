//! The numbers that sandboxes' users have on the host: each in use once at a time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// First of the host's user numbers for sandboxes: above those that distributions give to people,
/// containers (subuid) and systemd, below 2^31.
const FIRST: u32 = 1_879_048_192;
/// How many there are. A zygote's user namespace has them all, so that it can give one to each
/// sandbox forked from it.
pub const COUNT: u32 = 65_536;
/// The user that installs packages and owns the download cache, as an offset.
pub const INSTALLER: u32 = 1;
/// First offset that sandboxes are given.
const FIRST_GIVEN: u32 = 1000;
/// What a function's user is called inside its sandbox.
const INSIDE: u32 = 1000;

/// The number on the host of the user at an offset.
pub fn host_user(offset: u32) -> u32 {
    FIRST + offset
}

/// Gives out user numbers.
#[derive(Debug, Default)]
pub struct Users {
    taken: Mutex<BTreeSet<u32>>,
}

impl Users {
    /// Takes a number that is not in use.
    pub fn take(self: &Arc<Self>) -> Option<Taken> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = (FIRST_GIVEN..COUNT).find(|offset| !taken.contains(offset))?;
        taken.insert(offset);
        Some(Taken { offset, users: self.clone() })
    }
}

/// A number in use; free again when dropped.
#[derive(Debug)]
pub struct Taken {
    offset: u32,
    users: Arc<Users>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.users.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.offset);
    }
}

/// Who code in a sandbox runs as, and which users the sandbox knows.
#[derive(Debug, Clone)]
pub enum User {
    /// One user, at an offset of its own.
    One(Arc<Taken>),
    /// One user of the whole range, which the sandbox's namespace maps on: a zygote's.
    Range(Arc<Taken>),
    /// The installer.
    Installer,
}

impl User {
    fn offset(&self) -> u32 {
        match self {
            Self::One(taken) | Self::Range(taken) => taken.offset,
            Self::Installer => INSTALLER,
        }
    }

    /// Its number inside the sandbox.
    pub fn inside(&self) -> u32 {
        match self {
            Self::Range(taken) => taken.offset,
            Self::One(_) | Self::Installer => INSIDE,
        }
    }

    /// The lines of the user map (inside, outside, count); `nested` where the parent is a zygote's
    /// namespace, which numbers by offset, and not the host's.
    pub fn map(&self, nested: bool) -> Vec<(u32, u32, u32)> {
        let first = if nested { 0 } else { FIRST };
        match self {
            Self::Range(_) => vec![(0, first, COUNT)],
            Self::One(_) | Self::Installer => {
                vec![(0, first, 1), (INSIDE, first + self.offset(), 1)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_once_at_a_time() {
        let users = Arc::new(Users::default());
        let first = users.take().unwrap();
        let second = users.take().unwrap();
        assert_ne!(first.offset, second.offset);
        let freed = first.offset;
        drop(first);
        assert_eq!(users.take().unwrap().offset, freed);
    }

    #[test]
    fn maps_count_from_the_parent() {
        let taken = Arc::new(Arc::new(Users::default()).take().unwrap());
        let one = User::One(taken.clone());
        assert_eq!(one.map(true), [(0, 0, 1), (1000, taken.offset, 1)]);
        assert_eq!(one.map(false), [(0, FIRST, 1), (1000, FIRST + taken.offset, 1)]);
        assert_eq!(User::Range(taken).map(false), [(0, FIRST, COUNT)]);
    }
}
