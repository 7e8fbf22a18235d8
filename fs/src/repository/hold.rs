//! Holds of something that runs: as long as a [`Hold`] lives, its thing is a root.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sync::{Mutex, MutexGuard};

/// Things that are held, and how often.
#[derive(Debug)]
pub struct Holds<T: Ord>(Arc<Mutex<BTreeMap<T, usize>>>);

/// Keeps a thing until it is dropped.
#[derive(Debug)]
pub struct Hold<T: Ord> {
    holds: Holds<T>,
    held: Option<T>,
}

impl<T: Ord> Default for Holds<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Ord> Clone for Holds<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Ord + Clone> Holds<T> {
    /// Holds a thing.
    pub fn hold(&self, thing: T) -> Hold<T> {
        *self.lock().entry(thing.clone()).or_default() += 1;
        Hold { holds: self.clone(), held: Some(thing) }
    }

    /// All that is held now.
    pub fn all(&self) -> Vec<T> {
        self.lock().keys().cloned().collect()
    }
}

impl<T: Ord> Holds<T> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<T, usize>> {
        self.0.lock()
    }
}

impl<T: Ord> Drop for Hold<T> {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let mut holds = self.holds.lock();
        if let Some(count) = holds.get_mut(&held) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&held);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_twice_is_held_until_both_are_dropped() {
        let holds = Holds::default();
        let (first, second, other) = (holds.hold("a"), holds.hold("a"), holds.hold("b"));
        drop(first);
        assert_eq!(holds.all(), ["a", "b"]);
        drop((second, other));
        assert!(holds.all().is_empty());
    }
}
