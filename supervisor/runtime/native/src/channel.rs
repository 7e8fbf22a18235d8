//! Messages between the supervisor and a process, with descriptors, and without Python's `socket`.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pipsqueak_kernel::forked::{self, Children};
use pipsqueak_kernel::reader::Reader;
use pipsqueak_kernel::{descriptor, message};
use pyo3::create_exception;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::owner::{here, own};

/// Longest message that the runtime takes from the supervisor, in bytes: above the longest frame
/// of the wire protocol.
const MAX_MESSAGE_BYTES: usize = 80 << 20;

/// Number of first messages that may be orders. An order is carried out before the message after it is
/// read: if it ends the process, the supervisor hears that the later messages were not begun.
const ORDERS: u64 = 2;

create_exception!(pipsqueak_native, Broken, PyBaseException, "The channel is of no use any more.");

/// Receives one message: its body and its descriptors, or `None` at the end of the channel.
#[pyfunction]
pub fn receive(
    py: Python<'_>,
    channel: RawFd,
) -> PyResult<Option<(Bound<'_, PyBytes>, Vec<RawFd>)>> {
    let channel = descriptor::borrowed(channel)?;
    let Some(message) = py.detach(|| message::receive(channel, MAX_MESSAGE_BYTES))? else {
        return Ok(None);
    };
    let descriptors = message.descriptors.into_iter().map(IntoRawFd::into_raw_fd).collect();
    Ok(Some((PyBytes::new(py, &message.body), descriptors)))
}

/// Sends one message.
#[pyfunction]
pub fn send(py: Python<'_>, channel: RawFd, body: &[u8]) -> PyResult<()> {
    let channel = descriptor::borrowed(channel)?;
    Ok(py.detach(|| message::send(channel, body, &[]))?)
}

/// A message: its kind, its header, and its body, which is text or bytes.
type Received<'py> = (u8, Bound<'py, PyString>, Bound<'py, PyAny>);

/// A function's channel: messages of a header, a line's end, and a body. It belongs to the process that has
/// made it; a process forked from that gets `Elsewhere` raised.
#[pyclass(frozen)]
pub struct Channel {
    socket: BorrowedFd<'static>,
    /// The kind of messages whose bodies are bytes. Bodies of all other kinds are text.
    of_bytes: u8,
    /// The kind of messages that bring a new pipe for printed output.
    of_output: u8,
    reader: Mutex<Reader>,
    children: Mutex<Children>,
    /// The file, by device and inode, to which the process prints.
    output: Mutex<Option<(u64, u64)>>,
    /// The header of the last message that was received and is not answered.
    unanswered: Mutex<Option<Py<PyString>>>,
    /// Number of received messages.
    received: AtomicU64,
}

#[pymethods]
impl Channel {
    #[new]
    fn new(socket: RawFd, of_bytes: u8, of_output: u8) -> PyResult<Self> {
        let socket = descriptor::borrowed(socket)?;
        forked::keep_from_children(socket)?;
        own()?;
        Ok(Self {
            socket,
            of_bytes,
            of_output,
            reader: Mutex::default(),
            children: Mutex::default(),
            output: Mutex::new(file_of(1)),
            unanswered: Mutex::default(),
            received: AtomicU64::new(0),
        })
    }

    /// Receives one message: its kind, its header and its body, or `None` at the end of the channel.
    /// Signals are handled meanwhile. An exception of a signal handler is raised here, and no message is
    /// lost.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Received<'py>>> {
        loop {
            here()?;
            let message = py.detach(|| {
                let mut reader = lock(&self.reader);
                if self.received.load(Ordering::Relaxed) < ORDERS {
                    reader.receive_alone(self.socket, MAX_MESSAGE_BYTES)
                } else {
                    reader.receive(self.socket, MAX_MESSAGE_BYTES)
                }
            });
            let message = match message {
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    py.check_signals()?;
                    continue;
                }
                message => message.map_err(|error| broken(&error))?,
            };
            let Some(message) = message else { return Ok(None) };
            self.received.fetch_add(1, Ordering::Relaxed);
            let end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
            let (header, body) = message.split_at(end);
            let (kind, header) = header.split_first().ok_or_else(empty)?;
            if *kind == self.of_output {
                let descriptors = lock(&self.reader).take_descriptors();
                descriptors.last().map_or(Ok(()), |output| self.print_to(output))?;
                continue;
            }
            let body = body.get(1..).unwrap_or_default();
            let text = PyString::from_bytes(py, header)?;
            if *kind == self.of_bytes {
                return Ok(Some((*kind, text, PyBytes::new(py, body).into_any())));
            }
            let body = PyString::from_bytes(py, body)?.into_any();
            *lock(&self.unanswered) = Some(text.clone().unbind());
            return Ok(Some((*kind, text, body)));
        }
    }

    /// Makes the wait for a message also handle signals, as soon as `woken` is readable.
    fn heed(&self, woken: RawFd) -> PyResult<()> {
        lock(&self.reader).heed(descriptor::borrowed(woken)?);
        Ok(())
    }

    /// Sends one message.
    fn send(&self, py: Python<'_>, kind: u8, header: &[u8], body: &[u8]) -> PyResult<()> {
        here()?;
        let message = [&[kind], header, b"\n", body].concat();
        py.detach(|| message::send(self.socket, &message, &[])).map_err(|error| broken(&error))
    }

    /// Sends the answer to the last message that was received.
    fn answer(&self, py: Python<'_>, kind: u8, header: &[u8], body: &[u8]) -> PyResult<()> {
        self.send(py, kind, header, body)?;
        *lock(&self.unanswered) = None;
        Ok(())
    }

    /// Marks the last message as one that another process will answer.
    fn settle(&self) {
        *lock(&self.unanswered) = None;
    }

    /// The header of the last message that was received, unless it is answered.
    fn unanswered(&self, py: Python<'_>) -> Option<Py<PyString>> {
        lock(&self.unanswered).as_ref().map(|header| header.clone_ref(py))
    }

    /// True if child processes may live on since the last call. They print to this process's pipe, so the
    /// supervisor gives it another; false if it has no descriptor left to take one.
    fn has_left_others(&self) -> bool {
        // A process without free descriptors could not take another pipe, and would print to one that is no
        // longer read.
        lock(&self.children).were_made() && self.socket.try_clone_to_owned().is_ok()
    }
}

impl Channel {
    /// Redirects printed output to `output`, except for a descriptor that other code has replaced.
    fn print_to(&self, output: &OwnedFd) -> PyResult<()> {
        let mut file = lock(&self.output);
        let before = *file;
        for number in [1, 2] {
            if before.is_some() && file_of(number) == before {
                descriptor::replace(number, output.as_fd())?;
                *file = file_of(number);
            }
        }
        Ok(())
    }
}

fn empty() -> PyErr {
    Broken::new_err("a message without a kind")
}

fn broken(error: &std::io::Error) -> PyErr {
    Broken::new_err(error.to_string())
}

/// The file of a descriptor, by device and inode.
fn file_of(number: RawFd) -> Option<(u64, u64)> {
    descriptor::file(descriptor::borrowed(number).ok()?).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
