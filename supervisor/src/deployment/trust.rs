//! Whether a version loads in a zygote's child as in an interpreter of its own.
//!
//! A zygote's child must make no difference. Where it does all the same, the version gets interpreters of
//! its own from then on.

use crate::sync::{Mutex, lock};

/// What the loads of one version have told.
#[derive(Debug, Default)]
pub struct Trust(Mutex<State>);

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// It is started from zygotes.
    #[default]
    Forked,
    /// It is started in interpreters of its own: why it did not load in a zygote's child.
    Fresh(String),
    /// It is started in interpreters of its own, whether it loads there or not: what its code changes ahead
    /// of an import.
    Ordered(String),
    /// It has loaded in neither. Each start tries the other, and none tries both.
    Nowhere,
}

impl Trust {
    /// Whether a zygote's child may be tried.
    pub fn may_fork(&self) -> bool {
        !matches!(*lock(&self.0), State::Fresh(_) | State::Ordered(_))
    }

    /// Its own code changes something ahead of an import, which a zygote's import has read before.
    pub fn has_own_order(&self, reason: &str) {
        let mut state = lock(&self.0);
        if !matches!(*state, State::Ordered(_)) {
            *state = State::Ordered(reason.to_owned());
        }
    }

    /// It has not loaded in a zygote's child, and why; true if the same invocation is to try an interpreter
    /// of its own.
    pub fn has_failed_forked(&self, reason: &str) -> bool {
        let mut state = lock(&self.0);
        let is_known = *state == State::Nowhere;
        if !matches!(*state, State::Fresh(_) | State::Ordered(_)) {
            *state = State::Fresh(reason.to_owned());
        }
        !is_known
    }

    /// It has not loaded in an interpreter of its own.
    pub fn has_failed_fresh(&self) {
        let mut state = lock(&self.0);
        if !matches!(*state, State::Ordered(_)) {
            *state = State::Nowhere;
        }
    }

    /// It has loaded.
    pub fn has_loaded(&self) {
        let mut state = lock(&self.0);
        if *state == State::Nowhere {
            *state = State::Forked;
        }
    }

    /// Why it is started in interpreters of its own, if it is.
    pub fn reason(&self) -> Option<String> {
        match &*lock(&self.0) {
            State::Fresh(reason) | State::Ordered(reason) => Some(reason.clone()),
            State::Forked | State::Nowhere => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loads_only_in_an_interpreter_of_its_own_gets_one() {
        let trust = Trust::default();
        assert!(trust.may_fork());
        assert!(trust.has_failed_forked("no"));
        // Another invocation was on its way.
        assert!(trust.has_failed_forked("nor this"));
        trust.has_loaded();
        assert_eq!((trust.may_fork(), trust.reason().as_deref()), (false, Some("no")));
    }

    #[test]
    fn what_has_an_order_of_its_own_is_never_forked_again() {
        let trust = Trust::default();
        trust.has_own_order("a variable");
        trust.has_failed_fresh();
        trust.has_loaded();
        assert!(trust.has_failed_forked("another was on its way"));
        assert_eq!((trust.may_fork(), trust.reason().as_deref()), (false, Some("a variable")));
    }

    #[test]
    fn what_loads_nowhere_is_tried_once_an_invocation() {
        let trust = Trust::default();
        assert!(trust.has_failed_forked("no"));
        trust.has_failed_fresh();
        assert_eq!((trust.may_fork(), trust.reason()), (true, None));
        assert!(!trust.has_failed_forked("no"));
        assert!(!trust.may_fork());
        trust.has_failed_fresh();
        assert!(trust.may_fork());
        // What it lacked is there.
        trust.has_loaded();
        assert!(trust.may_fork());
        assert!(trust.has_failed_forked("no"));
    }
}
