//! What the Python runtime cannot do in Python: messages with descriptors without the `socket`
//! module's import, and the steps by which a zygote's child enters a sandbox.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};

use pipsqueak_kernel::{descriptor, message, privilege};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Longest message that the runtime takes from the supervisor, in bytes: above the longest frame
/// of the wire protocol.
const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// The native part of the runtime.
#[pymodule]
mod pipsqueak_native {
    #[pymodule_export]
    use super::{become_user, enter, receive, send};
}

/// Receives one message: its body and its descriptors, or `None` at the end of the channel.
#[pyfunction]
fn receive(py: Python<'_>, channel: RawFd) -> PyResult<Option<(Bound<'_, PyBytes>, Vec<RawFd>)>> {
    let channel = borrow(channel)?;
    let Some(message) = py.detach(|| message::receive(channel, MAX_MESSAGE_BYTES))? else {
        return Ok(None);
    };
    let descriptors = message.descriptors.into_iter().map(IntoRawFd::into_raw_fd).collect();
    Ok(Some((PyBytes::new(py, &message.body), descriptors)))
}

/// Sends one message.
#[pyfunction]
fn send(py: Python<'_>, channel: RawFd, body: &[u8]) -> PyResult<()> {
    let channel = borrow(channel)?;
    Ok(py.detach(|| message::send(channel, body, &[]))?)
}

/// Joins the cgroups behind `memberships` (each an open `cgroup.procs`) and then the namespaces of
/// `holder`, a pidfd. Closes all of them. The pid namespace is that of the next fork.
#[pyfunction]
fn enter(holder: RawFd, memberships: Vec<RawFd>, own_network: bool) -> PyResult<()> {
    for membership in memberships {
        File::from(descriptor::inherited(membership)?).write_all(b"0")?;
    }
    let holder = descriptor::inherited(holder)?;
    Ok(privilege::join(holder.as_fd(), own_network)?)
}

/// Becomes a user of the sandbox that has no capability.
#[pyfunction]
fn become_user(uid: u32, gid: u32) -> PyResult<()> {
    Ok(privilege::become_user(uid, gid)?)
}

/// Checks that a number from Python is an open descriptor.
fn borrow(number: RawFd) -> PyResult<BorrowedFd<'static>> {
    Ok(descriptor::borrowed(number)?)
}
