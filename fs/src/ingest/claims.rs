//! Claims on distributions: of additions at the same time each distribution is installed by one alone,
//! and the others wait for it.

use std::collections::HashSet;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// Distributions that are being installed now.
#[derive(Debug, Default)]
pub struct Claims {
    taken: Mutex<HashSet<String>>,
    given_back: Condvar,
}

/// Distributions that one addition installs; given back when dropped, whether they were installed or not.
#[derive(Debug)]
pub struct Claim<'a> {
    claims: &'a Claims,
    keys: Vec<String>,
}

impl Claims {
    /// Takes those of `wanted` that nobody else has. Where others have all of them, waits until one
    /// is given back; then the claim is empty, and what is missing is to be looked at again.
    pub fn take(&self, wanted: &[String]) -> Claim<'_> {
        let mut taken = self.lock();
        let free: Vec<String> =
            wanted.iter().filter(|key| !taken.contains(*key)).cloned().collect();
        if free.is_empty() && !wanted.is_empty() {
            let is_busy =
                |taken: &mut HashSet<String>| wanted.iter().all(|key| taken.contains(key));
            drop(self.given_back.wait_while(taken, is_busy));
        } else {
            taken.extend(free.iter().cloned());
        }
        Claim { claims: self, keys: free }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.taken.lock()
    }
}

impl Claim<'_> {
    /// True if something is claimed.
    pub fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|claimed| claimed == key)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut taken = self.claims.lock();
        for key in &self.keys {
            taken.remove(key);
        }
        self.claims.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_is_claimed_is_nobody_elses() {
        let claims = Claims::default();
        let first = claims.take(&keys(&["a", "b"]));
        let second = claims.take(&keys(&["b", "c"]));
        assert!(first.has("a") && first.has("b"));
        assert!(second.has("c") && !second.has("b"));
        drop(first);
        assert!(claims.take(&keys(&["b"])).has("b"));
        assert!(!claims.take(&[]).has("b"));
    }

    #[test]
    fn each_is_installed_once_whoever_comes() {
        let claims = Claims::default();
        let installed: Vec<AtomicUsize> = (0..6).map(|_| AtomicUsize::new(0)).collect();
        thread::scope(|scope| {
            for first in 0..6 {
                let (claims, installed) = (&claims, &installed);
                scope.spawn(move || {
                    let wanted: Vec<usize> = (0..4).map(|n| (first + n) % 6).collect();
                    let is_missing = |n: &usize| installed[*n].load(Ordering::SeqCst) == 0;
                    loop {
                        let missing: Vec<usize> =
                            wanted.iter().copied().filter(is_missing).collect();
                        if missing.is_empty() {
                            return;
                        }
                        let names: Vec<String> = missing.iter().map(usize::to_string).collect();
                        let claim = claims.take(&names);
                        for n in missing.iter().filter(|n| claim.has(&n.to_string())) {
                            if is_missing(n) {
                                thread::yield_now();
                                installed[*n].fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
                });
            }
        });
        assert!(installed.iter().all(|times| times.load(Ordering::SeqCst) == 1), "{installed:?}");
    }
}
