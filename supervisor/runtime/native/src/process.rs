//! What the runtime asks of its own process and has of the C library alone.

use nix::sys::time::TimeValLike;
use nix::time::ClockId;
use pipsqueak_kernel::forked::{self, Timer};
use pipsqueak_kernel::getenv;
use pyo3::prelude::*;

/// A time in nanoseconds that only grows, whatever code puts in the place of `time`'s.
#[pyfunction]
pub fn now() -> PyResult<i64> {
    let now = ClockId::CLOCK_MONOTONIC.now().map_err(std::io::Error::from)?;
    Ok(now.num_nanoseconds())
}

/// Stops timers that would send this process a signal later; their names.
#[pyfunction]
pub fn stop_timers() -> Vec<&'static str> {
    let stopped = forked::stop_timers().into_iter().map(|timer| match timer {
        Timer::Real => "ITIMER_REAL",
        Timer::Virtual => "ITIMER_VIRTUAL",
        Timer::Profiling => "ITIMER_PROF",
    });
    stopped.collect()
}

/// Has the names recorded of the variables that C code reads, or not any more.
#[pyfunction]
pub fn record_getenv(is_recording: bool) {
    getenv::record(is_recording);
}

/// The names that were recorded; `None` where not all of them are known.
#[pyfunction]
pub fn names_of_getenv() -> Option<Vec<String>> {
    getenv::names()
}
