//! Operations of the runtime on its own process that only the C library offers.

use nix::sys::time::TimeValLike;
use nix::time::ClockId;
use pipsqueak_kernel::forked::{self, Timer};
use pipsqueak_kernel::getenv;
use pyo3::prelude::*;

/// A monotonic time in nanoseconds, even if code has replaced functions of `time`.
#[pyfunction]
pub fn now() -> PyResult<i64> {
    let now = ClockId::CLOCK_MONOTONIC.now().map_err(std::io::Error::from)?;
    Ok(now.num_nanoseconds())
}

/// Stops timers that would send this process a signal later, and returns their names.
#[pyfunction]
pub fn stop_timers() -> Vec<&'static str> {
    let stopped = forked::stop_timers().into_iter().map(|timer| match timer {
        Timer::Real => "ITIMER_REAL",
        Timer::Virtual => "ITIMER_VIRTUAL",
        Timer::Profiling => "ITIMER_PROF",
    });
    stopped.collect()
}

/// Starts or stops recording the names of variables that C code reads.
#[pyfunction]
pub fn record_getenv(is_recording: bool) {
    getenv::record(is_recording);
}

/// The recorded names; `None` if some are lost.
#[pyfunction]
pub fn names_of_getenv() -> Option<Vec<String>> {
    getenv::names()
}
