//! What the Python runtime cannot do in Python: messages with descriptors without the `socket`
//! module's import, and the steps by which a zygote's child enters a sandbox.

use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use pipsqueak_kernel::filter::Filter;
use pipsqueak_kernel::landlock::Writable;
use pipsqueak_kernel::reader::Reader;
use pipsqueak_kernel::relocate::{Side, fork_elsewhere};
use pipsqueak_kernel::{descriptor, landlock, memory, message, privilege};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// Longest message that the runtime takes from the supervisor, in bytes: above the longest frame
/// of the wire protocol.
const MAX_MESSAGE_BYTES: usize = 80 << 20;

/// What a zygote's children give up. Compiled ahead of the first fork: in each child it would copy
/// pages.
static ENTERED: OnceLock<Filter> = OnceLock::new();

/// The native part of the runtime.
#[pymodule]
mod pipsqueak_native {
    #[pymodule_export]
    use super::{Channel, become_user, collapse, fork_into, receive, send};
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

/// How the header of a message begins whose body is bytes. Of all others it is text.
const OF_BYTES: &[u8] = b"{\"part\"";

/// A function's channel: messages of a header, a line's end, and a body.
#[pyclass(frozen)]
struct Channel {
    socket: BorrowedFd<'static>,
    reader: Mutex<Reader>,
}

#[pymethods]
impl Channel {
    #[new]
    fn new(socket: RawFd) -> PyResult<Self> {
        Ok(Self { socket: borrow(socket)?, reader: Mutex::default() })
    }

    /// Receives one message: its header and its body, or `None` at the end of the channel.
    fn receive<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<(Bound<'py, PyString>, Bound<'py, PyAny>)>> {
        let message = py.detach(|| {
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            reader.receive(self.socket, MAX_MESSAGE_BYTES)
        });
        let Some(message) = message? else { return Ok(None) };
        let end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
        let (header, body) = message.split_at(end);
        let body = body.get(1..).unwrap_or_default();
        let body = if header.starts_with(OF_BYTES) {
            PyBytes::new(py, body).into_any()
        } else {
            PyString::from_bytes(py, body)?.into_any()
        };
        Ok(Some((PyString::from_bytes(py, header)?, body)))
    }

    /// Sends one message.
    fn send(&self, py: Python<'_>, header: &[u8], body: &[u8]) -> PyResult<()> {
        let message = [header, b"\n", body].concat();
        Ok(py.detach(|| message::send(self.socket, &message, &[]))?)
    }
}

// In the stable ABI since 3.7; pyo3 does not name them.
unsafe extern "C" {
    fn PyOS_BeforeFork();
    fn PyOS_AfterFork_Parent();
    fn PyOS_AfterFork_Child();
}

/// Forks as `os.fork` does, into the cgroups behind `memberships` (each an open `cgroup.procs`) and
/// the namespaces of `holder`, a pidfd. The child's number in the caller's pid namespace, or 0 in
/// the child.
#[pyfunction]
fn fork_into(
    _py: Python<'_>,
    holder: RawFd,
    memberships: Vec<RawFd>,
    own_network: bool,
) -> PyResult<i32> {
    entered()?;
    let holder = borrow(holder)?;
    let memberships: Vec<_> = memberships.into_iter().map(borrow).collect::<PyResult<_>>()?;
    let mut join = || {
        privilege::join_groups(&memberships)?;
        privilege::join(holder, own_network)
    };
    // SAFETY: this thread has the interpreter, and these surround its forks. What follows a fork in
    // the child is as safe as after `os.fork`.
    let side = unsafe {
        PyOS_BeforeFork();
        let side = fork_elsewhere(&mut join);
        if matches!(side, Ok(Side::Child)) {
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
fn collapse() {
    let _ = memory::collapse();
}

/// Becomes a user of the sandbox that has no capability, and unless it `is_zygote` gives up what a
/// zygote may that a function may not.
#[pyfunction]
fn become_user(uid: u32, gid: u32, is_zygote: bool) -> PyResult<()> {
    privilege::become_user(uid, gid)?;
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

/// Checks that a number from Python is an open descriptor.
fn borrow(number: RawFd) -> PyResult<BorrowedFd<'static>> {
    Ok(descriptor::borrowed(number)?)
}
