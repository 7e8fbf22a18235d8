//! The steps by which a zygote's child enters its sandbox.

use std::io::ErrorKind;
use std::os::fd::RawFd;
use std::sync::OnceLock;

use pipsqueak_kernel::filter::Filter;
use pipsqueak_kernel::landlock::Writable;
use pipsqueak_kernel::passage::Passage;
use pipsqueak_kernel::relocate::{Memory, Side, fork_elsewhere};
use pipsqueak_kernel::{descriptor, landlock, memory, privilege};
use pyo3::prelude::*;

use crate::owner;

/// What a zygote's children give up. Compiled ahead of the first fork: in each child it would copy
/// pages.
static ENTERED: OnceLock<Filter> = OnceLock::new();

// In the stable ABI since 3.7; pyo3 does not name them.
unsafe extern "C" {
    fn PyOS_BeforeFork();
    fn PyOS_AfterFork_Parent();
    fn PyOS_AfterFork_Child();
}

/// The page by which children enter their sandboxes, in a zygote and all that it forks.
static PASSAGE: OnceLock<Passage> = OnceLock::new();

/// Makes ready for forks into sandboxes, ahead of what packages do.
#[pyfunction]
pub fn open_passage() -> PyResult<()> {
    if PASSAGE.get().is_none() {
        let passage = Passage::open()?;
        // No other thread is there that could have been first.
        PASSAGE.get_or_init(|| passage);
    }
    Ok(entered().map(drop)?)
}

/// Forks as `os.fork` does, into the sandbox of `holder`, a pidfd, where the child is a user without any
/// capability. The child's number in the caller's pid namespace, or 0 in the child.
#[pyfunction]
pub fn fork_into(
    _py: Python<'_>,
    holder: RawFd,
    own_network: bool,
    is_zygote: bool,
) -> PyResult<i32> {
    let holder = descriptor::borrowed(holder)?;
    let passage = *PASSAGE.get().ok_or_else(|| std::io::Error::from(ErrorKind::Unsupported))?;
    let memory = if passage.is_sealed() { Memory::Borrowed } else { Memory::Copied };
    let mut join = || {
        passage.go(holder, own_network, is_zygote);
        Ok(())
    };
    // SAFETY: this thread has the interpreter, and these surround its forks. What follows a fork in
    // the child is as safe as after `os.fork`.
    let side = unsafe {
        PyOS_BeforeFork();
        let side = fork_elsewhere(memory, &mut join);
        if matches!(side, Ok(Side::Child)) {
            owner::inherit();
            PyOS_AfterFork_Child();
        } else {
            PyOS_AfterFork_Parent();
        }
        side
    };
    match side? {
        Side::Child => Ok(0),
        Side::Parent(child) => Ok(child),
    }
}

/// Puts the process's memory into huge pages, which forks copy sooner; as far as that can be had.
#[pyfunction]
pub fn collapse() {
    let _ = memory::collapse();
}

/// Begins, in a process that was just forked into its sandbox; unless it `is_zygote` gives up what a zygote may
/// that a function may not.
#[pyfunction]
pub fn settle(is_zygote: bool) -> PyResult<()> {
    privilege::settle()?;
    if is_zygote {
        return Ok(());
    }
    landlock::restrict(Writable::BY_FUNCTIONS)?;
    Ok(entered()?.install()?)
}

fn entered() -> std::io::Result<&'static Filter> {
    match ENTERED.get() {
        Some(filter) => Ok(filter),
        None => Filter::of_entered().map(|filter| ENTERED.get_or_init(|| filter)),
    }
}
