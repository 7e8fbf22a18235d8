//! Acts whose end may differ from that in a plain process: the end and the reason.

use super::oracle::Case;

/// The end of a call.
#[derive(Debug, Clone, Copy)]
pub enum Told {
    /// A failure with this error type, whose message contains this text.
    Error(&'static str, &'static str),
    /// A success with this result.
    Result(&'static str),
}

/// An act that meets a limit in a sandbox, but succeeds in a plain process.
#[derive(Debug)]
pub struct Limit {
    act: &'static str,
    /// The act's end in a sandbox, always.
    pub told: Told,
    /// The reason.
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

/// Acts after which a handler in a shared process still prints, unlike one in a plain process: its
/// output goes by the channel, not by a descriptor.
const PRINTED_ALL_THE_SAME: [&str; 2] =
    ["printing.closed_descriptors", "printing.other_descriptors"];

/// Acts that leave a timer, which is stopped at the end of the call and strikes no later call.
const TIMERS: [&str; 3] = ["signals.alarm_left", "signals.timer_left", "signals.timer_handled"];

/// Acts during and after which other calls may find no thread. Each call needs one, and all in a
/// sandbox share its processes and memory.
const WITHOUT_THREADS: [&str; 3] =
    ["patches.address_space", "threads.too_many", "process.too_many"];

/// The limit that a handler meets, if the plain process came through. Each of these acts is the
/// last of its handler.
pub fn of(case: &Case) -> Option<&'static Limit> {
    let is_through = case.outcome["result"].is_string();
    LIMITS.iter().find(|limit| is_through && case.has_begun(limit.act))
}

/// True if calls in a shared process print after `case` although none would in a plain process.
pub fn is_printed_all_the_same(case: &Case) -> bool {
    PRINTED_ALL_THE_SAME.iter().any(|act| case.has_begun(act))
}

/// True if a call beside or after `case` may fail for want of a thread.
pub fn is_without_threads(case: &Case) -> bool {
    WITHOUT_THREADS.iter().any(|act| case.has_begun(act))
}

/// True if a timer of `case` strikes the next call in the plain process.
pub fn has_left_a_timer(case: &Case) -> bool {
    TIMERS.iter().any(|act| case.has_begun(act)) && !case.then["result"].is_string()
}
