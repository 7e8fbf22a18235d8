//! Where a function may end otherwise than in a plain process, how, and why.

use super::oracle::Case;

/// How a call ends.
#[derive(Debug, Clone, Copy)]
pub enum Told {
    /// It fails with such an error, whose message has this in it.
    Error(&'static str, &'static str),
    /// It gives this.
    Result(&'static str),
}

/// What an act comes to in a sandbox, where a plain process comes through.
#[derive(Debug)]
pub struct Limit {
    act: &'static str,
    /// How it ends, always.
    pub told: Told,
    /// Why.
    pub why: &'static str,
}

const LIMITS: [Limit; 6] = [
    Limit {
        act: "answers.too_long",
        told: Told::Error("Function.ResponseSizeTooLarge", "exceeded maximum allowed payload size"),
        why: "a result that comes as a whole has 6 MiB at most",
    },
    Limit {
        act: "threads.too_many",
        told: Told::Error("RuntimeError", "can't start new thread"),
        why: "a sandbox has 512 threads at most",
    },
    Limit {
        act: "process.too_many",
        told: Told::Error("BlockingIOError", "Resource temporarily unavailable"),
        why: "the same limit",
    },
    Limit {
        act: "process.takes_memory",
        told: Told::Error("Runtime.OutOfMemory", "memory limit"),
        why: "a sandbox has the memory that its function may have",
    },
    Limit {
        act: "process.child_takes_memory",
        told: Told::Result("9"),
        why: "the same limit; the child is killed, and its parent goes on",
    },
    Limit {
        act: "patches.all_descriptors",
        told: Told::Error("Runtime.ExitError", "exited with status 1"),
        why: "what asks a process and hears its answer is one of its descriptors",
    },
];

/// After these, what a handler prints in a process of several is told where a plain process cannot print any
/// more: it goes by the channel, not by a descriptor.
const PRINTED_ALL_THE_SAME: [&str; 2] =
    ["printing.closed_descriptors", "printing.other_descriptors"];

/// A timer that a call has left is stopped when it ends, and strikes no later one.
const TIMERS: [&str; 3] = ["signals.alarm_left", "signals.timer_left", "signals.timer_handled"];

/// While and after these, others in the process may find that there can be no more threads, of which each call
/// needs one: all in a sandbox share its processes and memory.
const WITHOUT_THREADS: [&str; 3] =
    ["patches.address_space", "threads.too_many", "process.too_many"];

/// The limit that a handler comes to, where the plain process came as far and through: each of these acts is the
/// last of its handler.
pub fn of(case: &Case) -> Option<&'static Limit> {
    let is_through = case.outcome["result"].is_string();
    LIMITS.iter().find(|limit| is_through && case.has_begun(limit.act))
}

/// Whether calls in a process of several print after `case` although none would in a plain process.
pub fn is_printed_all_the_same(case: &Case) -> bool {
    PRINTED_ALL_THE_SAME.iter().any(|act| case.has_begun(act))
}

/// Whether a call beside or after `case` may fail for want of a thread.
pub fn is_without_threads(case: &Case) -> bool {
    WITHOUT_THREADS.iter().any(|act| case.has_begun(act))
}

/// Whether the plain process is struck by a timer of `case` in the call after it.
pub fn has_left_a_timer(case: &Case) -> bool {
    TIMERS.iter().any(|act| case.has_begun(act)) && !case.then["result"].is_string()
}
