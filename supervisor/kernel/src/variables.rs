//! Variables that are for this process alone.

use std::ffi::{OsStr, OsString};

use super::clone::OneThread;

/// Takes a variable out of the environment, so that no process that is started later has it; `None`
/// where it is not set.
///
/// This is for the begin of a program: [`OneThread`] says that no other thread reads the environment meanwhile.
pub fn take(_alone: OneThread, name: impl AsRef<OsStr>) -> Option<OsString> {
    let value = std::env::var_os(&name)?;
    // SAFETY: the process has one thread, so nothing reads or writes the environment at this time.
    unsafe { std::env::remove_var(&name) };
    Some(value)
}
