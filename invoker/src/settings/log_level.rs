//! How much the supervisor writes to its log.

use super::choice::Choice;

/// Least weight of what is written to the supervisor's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Faults of Pipsqueak and its machine.
    Error,
    /// These, and what was got around.
    Warn,
    /// These, and what the supervisor begins and ends.
    #[default]
    Info,
    /// These, and each invocation.
    Debug,
}

impl Choice for LogLevel {
    const WHAT: &'static str = "level of the log";
    const NAME: &'static str = "LEVEL";
    const EXAMPLE: &'static str = "\"debug\"";
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Error, "error"),
        (Self::Warn, "warn"),
        (Self::Info, "info"),
        (Self::Debug, "debug"),
    ];
}
