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

/// Rights that a zygote's children give up. The filter is compiled ahead of the first fork, because in each
/// child that would copy pages.
static ENTERED: OnceLock<Filter> = OnceLock::new();

// These are in the stable ABI since 3.7; pyo3 does not name them.
unsafe extern "C" {
    fn PyOS_BeforeFork();
    fn PyOS_AfterFork_Parent();
    fn PyOS_AfterFork_Child();
}

/// The page by which children enter their sandboxes, shared by a zygote and all its forks.
static PASSAGE: OnceLock<Passage> = OnceLock::new();

/// Prepares forks into sandboxes, before packages run any code.
#[pyfunction]
pub fn open_passage() -> PyResult<()> {
    if PASSAGE.get().is_none() {
        let passage = Passage::open()?;
        // No other thread exists yet that could have been first.
        PASSAGE.get_or_init(|| passage);
    }
    Ok(entered().map(drop)?)
}

/// Forks as `os.fork` does, into the sandbox of `holder`, a pidfd, where the child is a user without any
/// capability. Returns the child's number in the caller's pid namespace, or 0 in the child.
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
    // SAFETY: this thread has the interpreter, and these calls surround its forks. Code after the fork in
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

/// Moves the process's memory into huge pages, which forks copy faster, as far as the kernel grants them.
#[pyfunction]
pub fn collapse() {
    let _ = memory::collapse();
}

/// Begins in a process that was just forked into its sandbox. Unless `is_zygote`, the process gives up the
/// rights that a zygote has and a function has not.
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
