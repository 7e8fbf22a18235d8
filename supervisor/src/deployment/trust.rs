//! The trust in zygotes for one version: it must load in a zygote's child as in an interpreter of its own.
//!
//! A zygote's child must make no difference. If a child does make one, the supervisor starts the
//! version in interpreters of its own from then on.

use crate::sync::{Mutex, lock};

/// History of the loads of one version.
#[derive(Debug, Default)]
pub struct Trust(Mutex<State>);

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// Starts come from zygotes.
    #[default]
    Forked,
    /// Starts get interpreters of their own; the reason why the version did not load in a zygote's child.
    Fresh(String),
    /// Starts get interpreters of their own, whether the version loads there or not; the thing that its
    /// code changes before an import.
    Ordered(String),
    /// The version has loaded in neither. Each start tries one, alternately; none tries both.
    Nowhere,
}

impl Trust {
    /// True if a start may try a zygote's child.
    pub fn may_fork(&self) -> bool {
        !matches!(*lock(&self.0), State::Fresh(_) | State::Ordered(_))
    }

    /// Notes that the version's code changes something before an import that a zygote's import has
    /// already read.
    pub fn has_own_order(&self, reason: &str) {
        let mut state = lock(&self.0);
        if !matches!(*state, State::Ordered(_)) {
            *state = State::Ordered(reason.to_owned());
        }
    }

    /// Notes that a load in a zygote's child failed, and why. True if the same invocation is to try an
    /// interpreter of its own.
    pub fn has_failed_forked(&self, reason: &str) -> bool {
        let mut state = lock(&self.0);
        let is_known = *state == State::Nowhere;
        if !matches!(*state, State::Fresh(_) | State::Ordered(_)) {
            *state = State::Fresh(reason.to_owned());
        }
        !is_known
    }

    /// Notes that a load in an interpreter of its own failed.
    pub fn has_failed_fresh(&self) {
        let mut state = lock(&self.0);
        if !matches!(*state, State::Ordered(_)) {
            *state = State::Nowhere;
        }
    }

    /// Notes that a load succeeded.
    pub fn has_loaded(&self) {
        let mut state = lock(&self.0);
        if *state == State::Nowhere {
            *state = State::Forked;
        }
    }

    /// Reason that starts get interpreters of their own; `None` if they do not.
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
        // The thing that the load lacked is there now.
        trust.has_loaded();
        assert!(trust.may_fork());
        assert!(trust.has_failed_forked("no"));
    }
}
