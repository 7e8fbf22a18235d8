//! The consequence of an attempt, as pure functions.

use pipsqueak::wire::{AsyncPolicy, EventCondition, FunctionError};

/// Time until an event that did not reach its function is tried again, in milliseconds. The time
/// doubles after each further such attempt.
const DEFERRED_MS: u64 = 1000;
/// Longest such time, in milliseconds: as on AWS Lambda.
const MAX_DEFERRED_MS: u64 = 5 * 60 * 1000;

/// The part of an event's past that decides its future. Times are in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Time of acceptance.
    pub accepted: i64,
    /// Attempts that the function has failed.
    pub attempts: u32,
    /// Consecutive attempts that never reached the function.
    pub deferrals: u32,
}

/// End of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The function succeeded, or does not exist any more.
    Done,
    /// The function failed.
    Failed(FunctionError),
    /// The attempt did not reach the function: the machine had no room, or a fault of its own.
    Deferred(FunctionError),
}

/// Consequence of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The event is done.
    Done,
    /// The event is tried again.
    Again {
        /// Time of the next attempt, in milliseconds since 1970.
        due: i64,
        /// Attempts that the function has failed, this one included.
        attempts: u32,
        /// Consecutive attempts that never reached the function.
        deferrals: u32,
        /// Error of this attempt.
        error: FunctionError,
    },
    /// The event is a dead letter.
    Dead {
        /// Reason that the event is not tried again.
        condition: EventCondition,
        /// Attempts that the function has failed.
        attempts: u32,
        /// Error of this attempt; absent if there was no attempt.
        error: Option<FunctionError>,
    },
}

/// True if an event is too old to be tried.
pub fn is_too_old(past: Past, policy: &AsyncPolicy, now: i64) -> bool {
    now > latest(past, policy)
}

/// Consequence of an attempt that ended at `now`.
pub fn judge(past: Past, ended: Ended, policy: &AsyncPolicy, now: i64) -> Verdict {
    let (attempts, deferrals, after, error) = match ended {
        Ended::Done => return Verdict::Done,
        Ended::Failed(error) => {
            let attempts = past.attempts.saturating_add(1);
            if attempts > policy.retries {
                let condition = EventCondition::RetriesExhausted;
                return Verdict::Dead { condition, attempts, error: Some(error) };
            }
            (attempts, 0, doubled(policy.backoff_ms, past.attempts), error)
        }
        Ended::Deferred(error) => {
            let first = DEFERRED_MS.min(policy.backoff_ms);
            let after = doubled(first, past.deferrals).min(MAX_DEFERRED_MS);
            (past.attempts, past.deferrals.saturating_add(1), after, error)
        }
    };
    let due = now.saturating_add_unsigned(after);
    if due > latest(past, policy) {
        let condition = EventCondition::EventAgeExceeded;
        return Verdict::Dead { condition, attempts, error: Some(error) };
    }
    Verdict::Again { due, attempts, deferrals, error }
}

fn latest(past: Past, policy: &AsyncPolicy) -> i64 {
    past.accepted.saturating_add_unsigned(policy.max_age_ms)
}

fn doubled(first: u64, times: u32) -> u64 {
    first.saturating_mul(1u64.checked_shl(times).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> FunctionError {
        let (error_type, error_message) = ("E".to_owned(), "no".to_owned());
        FunctionError { error_type, error_message, stack_trace: Vec::new() }
    }

    fn past(attempts: u32, deferrals: u32) -> Past {
        Past { accepted: 1000, attempts, deferrals }
    }

    #[test]
    fn failures_are_tried_twice_more_after_one_and_two_minutes() {
        let policy = AsyncPolicy::default();
        let next = |attempts| judge(past(attempts, 3), Ended::Failed(error()), &policy, 5000);
        let again = |attempts, due| Verdict::Again { due, attempts, deferrals: 0, error: error() };
        assert_eq!(next(0), again(1, 65_000));
        assert_eq!(next(1), again(2, 125_000));
        let condition = EventCondition::RetriesExhausted;
        assert_eq!(next(2), Verdict::Dead { condition, attempts: 3, error: Some(error()) });
        assert_eq!(judge(past(9, 9), Ended::Done, &policy, 5000), Verdict::Done);
    }

    #[test]
    fn what_did_not_come_to_the_function_is_tried_until_it_is_too_old() {
        let policy = AsyncPolicy { retries: 0, ..AsyncPolicy::default() };
        let mut now = 1000;
        let mut waits = Vec::new();
        let mut deferrals = 0;
        loop {
            match judge(past(0, deferrals), Ended::Deferred(error()), &policy, now) {
                Verdict::Again { due, attempts: 0, deferrals: more, .. } => {
                    waits.push(due - now);
                    (now, deferrals) = (due, more);
                }
                Verdict::Dead { condition: EventCondition::EventAgeExceeded, .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(waits[..3], [1000, 2000, 4000]);
        assert_eq!(waits.last(), Some(&300_000));
        assert!(!is_too_old(past(0, 0), &policy, now));
        assert!(is_too_old(past(0, 0), &policy, now + 300_000));
    }

    #[test]
    fn no_number_is_too_large() {
        let (backoff_ms, max_age_ms) = (u64::MAX, u64::MAX);
        let policy = AsyncPolicy { retries: u32::MAX, backoff_ms, max_age_ms };
        let verdict = judge(past(u32::MAX - 1, 0), Ended::Failed(error()), &policy, 5000);
        assert!(matches!(verdict, Verdict::Again { due: i64::MAX, .. }), "{verdict:?}");
    }
}
