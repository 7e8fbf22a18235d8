//! The process that may answer. Its forks may live on, but never answer in its place.

use std::sync::OnceLock;

use pipsqueak_kernel::forked::Mark;
use pyo3::create_exception;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

create_exception!(
    pipsqueak_native,
    Elsewhere,
    PyBaseException,
    "This process was forked by the one that was asked. Its argument, if any, is what was raised."
);

/// Mark of the process that may answer, once there is one.
static OWNER: OnceLock<Mark> = OnceLock::new();

/// Makes this process the one that may answer.
#[pyfunction]
pub fn own() -> PyResult<()> {
    if OWNER.get().is_none() {
        let mark = Mark::new()?;
        // Another thread may have been first.
        OWNER.get_or_init(|| mark);
    }
    if let Some(owner) = OWNER.get() {
        owner.set();
    }
    Ok(())
}

/// True if this process was forked by the one that may answer.
#[pyfunction]
pub fn is_elsewhere() -> bool {
    OWNER.get().is_some_and(|owner| !owner.is_set())
}

/// Makes a child one that may answer for itself, if its parent is one.
pub fn inherit() {
    if let Some(owner) = OWNER.get() {
        owner.set();
    }
}

/// Raises [`Elsewhere`] unless this process is the one that may answer.
pub fn here() -> PyResult<()> {
    if is_elsewhere() { Err(Elsewhere::new_err(())) } else { Ok(()) }
}
