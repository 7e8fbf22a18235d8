//! The numbers that sandboxes' users have on the host: each in use once at a time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use pipsqueak_kernel::privilege;

/// First of the host's user numbers for sandboxes: above those that distributions give to people,
/// containers (subuid) and systemd, below 2^31.
const FIRST: u32 = 1_879_048_192;
/// Number of them. A zygote's user namespace has them all, so that it can give one to each
/// sandbox forked from it.
pub const COUNT: u32 = 65_536;
/// The user that installs packages and owns the download cache, as an offset.
pub const INSTALLER: u32 = 1;
/// Number of a sandbox's user inside, a zygote's as well: what imports have found out and named by it is then
/// right for the zygote's children.
const INSIDE: u32 = privilege::INSIDE;
/// First offset that sandboxes are given: nobody else is called that.
const FIRST_GIVEN: u32 = INSIDE + 1;

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

/// User of the code in a sandbox, and the users that the sandbox knows.
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
    /// Offset of the user.
    pub fn offset(&self) -> u32 {
        match self {
            Self::One(taken) | Self::Range(taken) => taken.offset,
            Self::Installer => INSTALLER,
        }
    }

    /// Number of the user inside the sandbox.
    pub const INSIDE: u32 = INSIDE;

    /// The lines of the user map (inside, outside, count). `around` are the offsets of the zygotes in whose
    /// namespaces this one is, the nearest first: it numbers by offset there.
    ///
    /// Each line is in one line of the map around it, as the kernel wants it.
    pub fn map(&self, around: &[u32]) -> Vec<(u32, u32, u32)> {
        let outside = |offset| match around.first() {
            None => FIRST + offset,
            Some(nearest) if *nearest == offset => INSIDE,
            Some(_) => offset,
        };
        let own = self.offset();
        if !matches!(self, Self::Range(_)) {
            return vec![(0, outside(0), 1), (INSIDE, outside(own), 1)];
        }
        let mut lines = vec![(0, outside(0), INSIDE), (INSIDE, outside(own), 1)];
        let mut apart = [around, &[own, COUNT]].concat();
        apart.sort_unstable();
        let mut first = FIRST_GIVEN;
        for offset in apart {
            if first < offset {
                lines.push((first, outside(first), offset - first));
            }
            if offset != own && offset < COUNT {
                lines.push((offset, outside(offset), 1));
            }
            first = offset + 1;
        }
        lines
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
    fn everybody_is_called_the_same_inside_and_has_a_number_outside() {
        let users = Arc::new(Users::default());
        let [outer, inner, innermost] = [(); 3].map(|()| Arc::new(users.take().unwrap()));
        let [first, second] = [outer.offset, inner.offset];
        assert_eq!([first, second, innermost.offset], [1001, 1002, 1003]);
        let one = User::One(inner.clone());
        assert_eq!(one.map(&[]), [(0, FIRST, 1), (1000, FIRST + 1002, 1)]);
        assert_eq!(one.map(&[first]), [(0, 0, 1), (1000, 1002, 1)]);
        let outermost =
            [(0, FIRST, 1000), (1000, FIRST + 1001, 1), (1002, FIRST + 1002, COUNT - 1002)];
        assert_eq!(User::Range(outer).map(&[]), outermost);
        let within = [(0, 0, 1000), (1000, 1002, 1), (1001, 1000, 1), (1003, 1003, COUNT - 1003)];
        assert_eq!(User::Range(inner).map(&[first]), within);
        let deeper = [
            (0, 0, 1000),
            (1000, 1003, 1),
            (1001, 1001, 1),
            (1002, 1000, 1),
            (1004, 1004, COUNT - 1004),
        ];
        assert_eq!(User::Range(innermost).map(&[second, first]), deeper);
    }
}
