//! The outcome of a version's loads in zygotes' children, against interpreters of its own.
//!
//! A zygote's child must make no difference. Where it does all the same, the version gets interpreters of
//! its own from then on. A zygote that lacked modules of the version says less: the child imported those
//! itself, and what they change may have come ahead of what the zygote had. So the version is tried once
//! more, from a zygote that has imported all that it imports.

use crate::sync::{Mutex, lock};

/// What the loads of one version have told.
#[derive(Debug, Default)]
pub struct Trust(Mutex<State>);

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// It is started from zygotes.
    #[default]
    Forked,
    /// Starts from zygotes alone that have imported all that it imports, because it did not load in a child
    /// of one that had not.
    Whole,
    /// It is started in interpreters of its own: why it did not load in a zygote's child.
    Fresh(String),
    /// It is started in interpreters of its own, whether it loads there or not: what its code changes ahead
    /// of an import.
    Ordered(String),
    /// It has loaded in neither. Each start tries the other, and none tries both.
    Nowhere,
}

impl Trust {
    /// True if a child of a zygote may be tried; of one that `has_all` that the version imports, or not.
    pub fn may_fork(&self, has_all: bool) -> bool {
        match *lock(&self.0) {
            State::Forked | State::Nowhere => true,
            State::Whole => has_all,
            State::Fresh(_) | State::Ordered(_) => false,
        }
    }

    /// Its own code changes something ahead of an import, which an import of the zygote has read before; or, if
    /// the zygote did not have all, a module may have that its child imported.
    pub fn has_own_order(&self, reason: &str, had_all: bool) {
        let mut state = lock(&self.0);
        if !matches!(*state, State::Ordered(_)) {
            *state = if had_all { State::Ordered(reason.to_owned()) } else { State::Whole };
        }
    }

    /// Notes that it has not loaded in a child of a zygote, which had all or not; true if the same invocation is
    /// to try an interpreter of its own.
    pub fn has_failed_forked(&self, reason: &str, had_all: bool) -> bool {
        let mut state = lock(&self.0);
        let is_known = *state == State::Nowhere;
        if !matches!(*state, State::Fresh(_) | State::Ordered(_)) {
            *state = if had_all { State::Fresh(reason.to_owned()) } else { State::Whole };
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
            State::Forked | State::Whole | State::Nowhere => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loads_only_in_an_interpreter_of_its_own_gets_one() {
        let trust = Trust::default();
        assert!(trust.may_fork(false));
        assert!(trust.has_failed_forked("no", true));
        // Another invocation was on its way.
        assert!(trust.has_failed_forked("nor this", true));
        trust.has_loaded();
        assert_eq!((trust.may_fork(true), trust.reason().as_deref()), (false, Some("no")));
    }

    #[test]
    fn what_has_an_order_of_its_own_is_never_forked_again() {
        let trust = Trust::default();
        trust.has_own_order("a variable", true);
        trust.has_failed_fresh();
        trust.has_loaded();
        assert!(trust.has_failed_forked("another was on its way", true));
        assert_eq!((trust.may_fork(true), trust.reason().as_deref()), (false, Some("a variable")));
    }

    #[test]
    fn what_a_zygote_without_all_has_spoiled_is_tried_from_one_with_all() {
        for is_order in [false, true] {
            let trust = Trust::default();
            let fails = |had_all| {
                if is_order {
                    trust.has_own_order("an attribute", had_all);
                } else {
                    assert!(trust.has_failed_forked("an attribute", had_all));
                }
            };
            fails(false);
            trust.has_loaded();
            assert_eq!([true, false].map(|has_all| trust.may_fork(has_all)), [true, false]);
            assert_eq!(trust.reason(), None);
            fails(true);
            trust.has_loaded();
            assert_eq!([true, false].map(|has_all| trust.may_fork(has_all)), [false, false]);
            assert_eq!(trust.reason().as_deref(), Some("an attribute"));
        }
    }

    #[test]
    fn what_loads_nowhere_is_tried_once_an_invocation() {
        let trust = Trust::default();
        assert!(trust.has_failed_forked("no", true));
        trust.has_failed_fresh();
        assert_eq!((trust.may_fork(false), trust.reason()), (true, None));
        assert!(!trust.has_failed_forked("no", true));
        assert!(!trust.may_fork(true));
        trust.has_failed_fresh();
        assert!(trust.may_fork(false));
        // What it lacked is there.
        trust.has_loaded();
        assert!(trust.may_fork(false));
        assert!(trust.has_failed_forked("no", true));
    }
}
